//! What comes behind a whole request.

use lb_l7::h1::Rejection as R;

use super::{End, GET, Row, Seen, accept, ends, get, post};

#[rustfmt::skip] // A row is a line.
pub(super) const ROWS: &[Row] = &[
    accept("two requests", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[GET, get("/b")]),
    accept("a request behind a counted body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[post("hello"), get("/b")]),
    accept("a request behind chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[post("hello"), get("/b")]),
    accept("an empty line between requests", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[post("x"), get("/b")]),
    ends("two empty lines between requests", "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[GET], End::Head(R::EmptyLines)),
    accept("CL.0: a request within a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\nFoo: x", &[post("GET /evil HTTP/1.1\r\nHost: a\r\nFoo: x")]),
    accept("CL.0: a request behind a length of nothing", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[post(""), get("/b")]),
    accept("0.CL: a GET whose body is a request", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", &[Seen { body: "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", ..GET }]),
    accept("a request within a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n", &[post("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n")]),
    ends("a body where none was said", "POST / HTTP/1.1\r\nHost: a\r\n\r\nhello\r\n\r\n", &[post("")], End::Head(R::RequestLine)),
    ends("a body is longer than its length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhello\r\n\r\n", &[post("hell")], End::Head(R::RequestLine)),
    ends("chunks where no coding was said", "POST / HTTP/1.1\r\nHost: a\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[post("")], End::Head(R::RequestLine)),
    ends("a second request that smuggles", "GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[GET], End::Head(R::LengthAndCoding)),
    ends("a second request without Host", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n", &[GET], End::Head(R::HostMissing)),
    ends("a second request that is not whole", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n", &[GET], End::HeadUnfinished),
    accept("a request behind Expect", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[post("hello"), get("/b")]),
    accept("a request behind a trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[post(""), get("/b")]),
    accept("HTTP/1.1 behind HTTP/1.0 that stays", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[GET, get("/b")]),
    ends("a request behind HTTP/1.0 that closes", "GET / HTTP/1.0\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[GET], End::Closed),
    ends("a request behind one that closes", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[GET], End::Closed),
    ends("a request behind one that closes on a second line", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: x, Close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", &[GET], End::Closed),
];
