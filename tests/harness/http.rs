//! One request, one answer: enough for an admin port.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::PATIENCE;

/// An answer whose connection the server has closed.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// What came after the head.
    pub body: String,
}

/// Asks the server at `address` for `path`, and reads to the end of the connection. Blocks.
///
/// # Errors
///
/// As the socket, within 10 seconds; `InvalidData` when the answer is not HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, answer.into_owned()))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host, peer};

    #[test]
    fn nginx_is_asked_and_answers() {
        let address = host::free_address();
        let _server = peer::http_server(address, "hello").start();
        let answer = get(address, "/").unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "hello"));
        get(host::free_address(), "/").unwrap_err();
    }

    #[test]
    fn what_is_no_http_is_no_answer() {
        assert_eq!(parse("HTTP/1.1 404 Not Found\r\n\r\n").unwrap().status, 404);
        for bad in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1\r\n\r\n",
            "SSH-2.0 200\r\n\r\n",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
