//! Exchanges over HTTP/2.

use super::*;
use crate::upstream::{BackendProtocol, ChannelErrorKind};
use h2::server::{self, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderValue, Response, StatusCode};

type Server = Connection<DuplexStream, Bytes>;

fn config() -> UpstreamConfig {
    small().protocol(BackendProtocol::Http2)
}

async fn serve(rig: &mut Rig, builder: &server::Builder) -> Server {
    builder.handshake(rig.accept().await).await.unwrap()
}

async fn next(server: &mut Server) -> (Request<RecvStream>, SendResponse<Bytes>) {
    server.accept().await.unwrap().unwrap()
}

/// Goes on with the connection while the test does something else.
fn run(mut server: Server) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { while let Some(Ok(_)) = server.accept().await {} })
}

fn ok() -> Response<()> {
    Response::new(())
}

/// The first exchange, by which the backend's connection has come to be.
async fn first(rig: &mut Rig, builder: &server::Builder) -> (Channel, Server) {
    let channel = rig.open().await;
    assert_eq!(channel.version(), http::Version::HTTP_2);
    let server = serve(rig, builder).await;
    (channel, server)
}

#[tokio::test(start_paused = true)]
async fn a_request_has_an_authority_and_none_of_the_fields_of_a_connection() {
    let mut rig = rig(config());
    let (mut channel, mut server) = first(&mut rig, &server::Builder::new()).await;
    let mut request = parts(
        Request::put("/a?b")
            .header("host", "example.com:81")
            .header("te", "trailers")
            .header("connection", "x")
            .header("keep-alive", "timeout=5")
            .header("x-kept", "1")
            .header("x-kept", "2"),
    );
    request
        .headers
        .append("transfer-encoding", HeaderValue::from_static("chunked"));
    channel
        .send_head(&request, BodyLength::Exact(3), None)
        .unwrap();
    channel.send_data(Bytes::from_static(b"abc")).unwrap();
    channel.finish().unwrap();
    flush(&mut channel).await.unwrap();
    let (request, mut respond) = next(&mut server).await;
    assert_eq!(request.uri(), "http://example.com:81/a?b");
    assert_eq!(request.method(), "PUT");
    let names: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            ("te", "trailers"),
            ("x-kept", "1"),
            ("x-kept", "2"),
            ("content-length", "3")
        ]
    );
    let response = Response::builder()
        .header("content-length", "2")
        .body(())
        .unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    stream.send_data(Bytes::from_static(b"hi"), true).unwrap();
    run(server);
    let (parts, length) = final_head(&mut channel).await;
    assert_eq!(
        (parts.status, length),
        (StatusCode::OK, BodyLength::Exact(2))
    );
    assert!(parts.headers.is_empty());
    assert_eq!(content(&mut channel).await.unwrap().0, b"hi");
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "abc");
    assert!(body.is_end_stream());
    channel.release(clock::now());
    let stats = rig.stats();
    assert_eq!((stats.open, stats.idle), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn interim_answers_and_trailers_pass_both_ways() {
    let mut rig = rig(config());
    let (mut channel, mut server) = first(&mut rig, &server::Builder::new()).await;
    channel
        .send_head(&post(), BodyLength::Streamed, None)
        .unwrap();
    channel.send_data(Bytes::from_static(b"abc")).unwrap();
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from(7))]);
    channel.send_trailers(trailers.clone()).unwrap();
    flush(&mut channel).await.unwrap();
    let (request, mut respond) = next(&mut server).await;
    assert!(request.headers().is_empty());
    let interim = Response::builder()
        .status(103)
        .header("link", "</a>")
        .body(())
        .unwrap();
    respond.send_informational(interim).unwrap();
    let mut stream = respond.send_response(ok(), false).unwrap();
    stream.send_data(Bytes::from_static(b"hi"), false).unwrap();
    stream.send_trailers(trailers.clone()).unwrap();
    run(server);
    let Answer::Informational(interim) = head(&mut channel).await.unwrap() else {
        panic!("a final answer");
    };
    assert_eq!(
        (interim.status.as_u16(), interim.headers["link"].as_bytes()),
        (103, &b"</a>"[..])
    );
    assert_eq!(final_head(&mut channel).await.1, BodyLength::Streamed);
    assert_eq!(
        content(&mut channel).await.unwrap(),
        (b"hi".to_vec(), trailers.clone())
    );
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "abc");
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap(), Some(trailers));
}

#[tokio::test(start_paused = true)]
async fn exchanges_share_a_connection_up_to_the_lesser_of_both_limits() {
    for (ours, theirs) in [(2, 5), (5, 2)] {
        let mut rig = rig(config().streams(ours).connections(2).pending(0));
        let mut builder = server::Builder::new();
        builder.max_concurrent_streams(theirs);
        let (first, server) = first(&mut rig, &builder).await;
        run(server);
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let second = rig.open().await;
        assert!(second.is_reused());
        assert_eq!((rig.stats().open, rig.stats().reused), (1, 1));
        let third = rig.open().await;
        assert!(!third.is_reused());
        run(serve(&mut rig, &builder).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let fourth = rig.open().await;
        assert!(fourth.is_reused());
        assert_eq!(rig.stats().open, 2);
        let refused = rig.try_open(0, Reuse::Any).await;
        assert!(matches!(refused, Err(OpenError::QueueFull)));
        second.release(clock::now());
        assert!(rig.open().await.is_reused());
        drop((first, third, fourth));
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_one_connection_instead_of_opening_many() {
    let mut rig = rig(config().streams(10));
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (upstream, lease) = (rig.upstream.clone(), rig.lease());
            tokio::spawn(async move {
                upstream
                    .open(0, clock::now(), &lease, Reuse::Any, None)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let server = serve(&mut rig, &server::Builder::new()).await;
    run(server);
    let mut channels = Vec::new();
    for task in tasks {
        channels.push(task.await.unwrap());
    }
    let stats = rig.stats();
    assert_eq!((stats.open, stats.opened, stats.pending), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_burst_whose_connection_fails_still_gets_one() {
    let mut rig = rig(config().streams(10));
    rig.failures
        .lock()
        .unwrap()
        .push(io::ErrorKind::ConnectionRefused.into());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (upstream, lease) = (rig.upstream.clone(), rig.lease());
            tokio::spawn(async move {
                upstream
                    .open(0, clock::now(), &lease, Reuse::Any, None)
                    .await
            })
        })
        .collect();
    run(serve(&mut rig, &server::Builder::new()).await);
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    assert_eq!((rig.stats().open, rig.stats().failed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_was_not_processed_and_a_reset_one_may_have_been() {
    let rows = [
        (
            Reason::REFUSED_STREAM,
            ChannelErrorKind::RefusedStream,
            true,
        ),
        (Reason::CANCEL, ChannelErrorKind::Reset, false),
        (Reason::INTERNAL_ERROR, ChannelErrorKind::Reset, false),
    ];
    let mut rig = rig(config());
    let (channel, server) = first(&mut rig, &server::Builder::new()).await;
    let mut server = Some(server);
    drop(channel);
    for (reason, kind, unprocessed) in rows {
        let mut channel = rig.open().await;
        assert!(channel.is_reused());
        ask(&mut channel).await;
        let mut connection = server.take().unwrap();
        let (_, mut respond) = next(&mut connection).await;
        respond.send_reset(reason);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let until = tokio::time::timeout(Duration::from_millis(5), connection.accept()).await;
            assert!(until.is_err());
            sender
                .send(connection)
                .unwrap_or_else(|_| panic!("the test is gone"));
        });
        let error = head(&mut channel).await.unwrap_err();
        assert_eq!((error.kind, error.unprocessed), (kind, unprocessed));
        assert_eq!(head(&mut channel).await.unwrap_err(), error);
        server = Some(receiver.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn after_goaway_streams_below_its_last_finish_and_those_above_were_not_processed() {
    let mut rig = rig(config());
    let (mut below, mut server) = first(&mut rig, &server::Builder::new()).await;
    ask(&mut below).await;
    let (_, mut respond) = next(&mut server).await;
    // The last stream is named by the second GOAWAY, after a ping, which comes before the second
    // request is accepted.
    server.graceful_shutdown();
    let running = tokio::spawn(async move { while let Some(Ok(_)) = server.accept().await {} });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let fresh = rig.open().await;
    assert!(
        !fresh.is_reused(),
        "no new stream on a connection that is closing"
    );
    let stats = rig.stats();
    assert_eq!(stats.open, 2, "it is open until its last stream has ended");
    let mut stream = respond.send_response(ok(), false).unwrap();
    stream.send_data(Bytes::from_static(b"hi"), true).unwrap();
    drop((respond, stream));
    final_head(&mut below).await;
    assert_eq!(content(&mut below).await.unwrap().0, b"hi");
    below.release(clock::now());
    running.await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stats = rig.stats();
    assert_eq!((stats.open, stats.closed_for(CloseReason::GoAway)), (1, 1));
}

/// Frames of HTTP/2 by hand (RFC 9113, 4.1).
fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_stream_above_the_last_of_a_goaway_is_unprocessed_and_one_cut_off_is_not() {
    let mut rig = rig(config());
    let (mut one, mut two) = {
        let one = rig.open().await;
        (one, rig.open().await)
    };
    let mut far = rig.accept().await;
    far.write_all(&raw(4, 0, 0, &[])).await.unwrap();
    ask(&mut one).await;
    ask(&mut two).await;
    // GOAWAY with NO_ERROR, stream 1 the last.
    far.write_all(&raw(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]))
        .await
        .unwrap();
    let error = head(&mut two).await.unwrap_err();
    assert_eq!(
        (error.kind, error.unprocessed),
        (ChannelErrorKind::GoAway, true)
    );
    drop(far);
    let error = head(&mut one).await.unwrap_err();
    assert!(!error.unprocessed, "{error:?}");
    assert_eq!(error.kind, ChannelErrorKind::Reset);
}

#[tokio::test(start_paused = true)]
async fn a_backend_sends_no_more_ahead_than_the_window_and_more_as_it_is_taken() {
    let mut rig = rig(config());
    let (mut channel, mut server) = first(&mut rig, &server::Builder::new()).await;
    ask(&mut channel).await;
    let (_, mut respond) = next(&mut server).await;
    let mut stream = respond.send_response(ok(), false).unwrap();
    run(server);
    final_head(&mut channel).await;
    stream.reserve_capacity(1 << 20);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(stream.capacity(), 64 * 1024);
    stream
        .send_data(Bytes::from(vec![1; stream.capacity()]), false)
        .unwrap();
    stream.reserve_capacity(1 << 20);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let Some(Ok(Frame::Data(piece))) = frame(&mut channel).await else {
        panic!("no data");
    };
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        stream.capacity(),
        0,
        "what was handed out is not yet passed on"
    );
    let mut taken = piece.len();
    while taken < 60_000 {
        if let Some(Ok(Frame::Data(piece))) = frame(&mut channel).await {
            taken += piece.len();
        }
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(stream.capacity() >= 30_000, "{}", stream.capacity());
    drop(channel);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let reset = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
    assert_eq!(reset, Reason::CANCEL);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_backends_window() {
    let mut rig = rig(config());
    let (mut channel, mut server) = first(&mut rig, &server::Builder::new()).await;
    channel
        .send_head(&post(), BodyLength::Exact(200_000), None)
        .unwrap();
    channel.send_data(Bytes::from(vec![7; 200_000])).unwrap();
    assert!(
        channel.send_data(Bytes::from_static(b"x")).is_err(),
        "one piece at a time, and no more than was said"
    );
    let waiting = tokio::time::timeout(Duration::from_millis(5), flush(&mut channel)).await;
    assert!(waiting.is_err());
    let (request, _respond) = next(&mut server).await;
    run(server);
    let mut body = request.into_body();
    let reader = tokio::spawn(async move {
        let mut total = 0;
        while let Some(data) = body.data().await {
            let length = data.unwrap().len();
            body.flow_control().release_capacity(length).unwrap();
            total += length;
        }
        total
    });
    poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    channel.finish().unwrap();
    flush(&mut channel).await.unwrap();
    assert_eq!(reader.await.unwrap(), 200_000);
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_is_read_though_the_backend_wants_no_more() {
    let mut rig = rig(config());
    let (mut channel, mut server) = first(&mut rig, &server::Builder::new()).await;
    channel
        .send_head(&post(), BodyLength::Exact(1 << 20), None)
        .unwrap();
    channel.send_data(Bytes::from(vec![7; 1 << 20])).unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(5), flush(&mut channel)).await;
    assert!(waiting.is_err());
    let (request, mut respond) = next(&mut server).await;
    let refusal = Response::builder().status(413).body(()).unwrap();
    respond.send_response(refusal, true).unwrap();
    drop((request, respond));
    run(server);
    let sent = flush(&mut channel).await.unwrap_err();
    assert_eq!(
        (sent.kind, sent.unprocessed),
        (ChannelErrorKind::Reset, false)
    );
    let (parts, length) = final_head(&mut channel).await;
    assert_eq!((parts.status.as_u16(), length), (413, BodyLength::Empty));
    channel.release(clock::now());
    assert_eq!(rig.stats().open, 1);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_asked_for_only_where_the_backend_allows_it() {
    let upgrade = HeaderValue::from_static("websocket");
    let mut rig = rig(config());
    let (mut channel, server) = first(&mut rig, &server::Builder::new()).await;
    run(server);
    assert!(!channel.takes_upgrades().await);
    let error = channel
        .send_head(&get(), BodyLength::Empty, Some(&upgrade))
        .unwrap_err();
    assert_eq!(
        (error.kind, error.unprocessed),
        (ChannelErrorKind::TunnelUnsupported, true)
    );
    drop(channel);

    let mut rig = super::rig(config());
    let mut builder = server::Builder::new();
    builder.enable_connect_protocol();
    let mut channel = rig.open().await;
    let mut server = serve(&mut rig, &builder).await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let accepted = next(&mut server).await;
        sender
            .send(accepted)
            .unwrap_or_else(|_| panic!("the test is gone"));
        run(server);
    });
    assert!(channel.takes_upgrades().await);
    let request = parts(
        Request::get("/chat")
            .header("host", "a.example")
            .header("sec-websocket-key", "x")
            .header("sec-websocket-version", "13"),
    );
    channel
        .send_head(&request, BodyLength::Empty, Some(&upgrade))
        .unwrap();
    flush(&mut channel).await.unwrap();
    let (request, mut respond) = receiver.await.unwrap();
    assert_eq!(request.method(), "CONNECT");
    assert_eq!(request.uri(), "http://a.example/chat");
    assert_eq!(
        request
            .extensions()
            .get::<h2::ext::Protocol>()
            .unwrap()
            .as_str(),
        "websocket"
    );
    assert_eq!(request.headers().len(), 1);
    let mut to = respond.send_response(ok(), false).unwrap();
    to.send_data(Bytes::from_static(b"hello"), false).unwrap();
    assert_eq!(final_head(&mut channel).await.0.status, StatusCode::OK);
    assert!(frame(&mut channel).await.is_none());
    let mut tunnel = channel.into_tunnel().unwrap();
    let mut bytes = [0; 2];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"he");
    let mut bytes = [0; 3];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"llo");
    tunnel.write_all(b"back").await.unwrap();
    tunnel.shutdown().await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut from = request.into_body();
    assert_eq!(from.data().await.unwrap().unwrap(), "back");
    to.send_data(Bytes::new(), true).unwrap();
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_plain_connect_names_the_authority_alone() {
    let mut rig = rig(config());
    let (mut channel, mut server) = first(&mut rig, &server::Builder::new()).await;
    let request = parts(Request::connect("db.example:5432").header("host", "db.example:5432"));
    channel
        .send_head(&request, BodyLength::Empty, None)
        .unwrap();
    flush(&mut channel).await.unwrap();
    let (request, mut respond) = next(&mut server).await;
    assert_eq!(
        (
            request.method().as_str(),
            request.uri().to_string().as_str()
        ),
        ("CONNECT", "db.example:5432")
    );
    let refusal = Response::builder().status(403).body(()).unwrap();
    respond.send_response(refusal, true).unwrap();
    run(server);
    assert_eq!(final_head(&mut channel).await.0.status, 403);
    assert!(channel.into_tunnel().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_ends_when_it_is_idle_old_or_has_carried_enough() {
    let secs = Duration::from_secs;
    let cases = [
        (config().idle_time(secs(10)), CloseReason::Idle),
        (config().age(secs(10)), CloseReason::Age),
        (config().requests(1), CloseReason::Requests),
    ];
    for (config, reason) in cases {
        let mut rig = rig(config);
        let (channel, server) = first(&mut rig, &server::Builder::new()).await;
        let running = run(server);
        channel.release(clock::now());
        if reason != CloseReason::Requests {
            tokio::time::sleep(secs(9)).await;
            rig.upstream.sweep(0, clock::now());
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!((rig.stats().open, rig.stats().idle), (1, 1));
        }
        tokio::time::sleep(secs(1)).await;
        rig.upstream.sweep(0, clock::now());
        running.await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(
            (rig.stats().open, rig.stats().closed_for(reason)),
            (0, 1),
            "{reason:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_answers_no_ping_is_given_up() {
    let secs = Duration::from_secs;
    let mut rig = rig(config().http2_ping(Some(secs(10))));
    let mut channel = rig.open().await;
    let far = rig.accept().await;
    ask(&mut channel).await;
    let before = clock::now();
    let error = head(&mut channel).await.unwrap_err();
    assert_eq!(clock::now().since(before), secs(10));
    assert!(!error.unprocessed);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.stats().closed_for(CloseReason::KeepAlive), 1);
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_answers_pings_is_kept() {
    let mut rig = rig(config().http2_ping(Some(Duration::from_secs(10))));
    let (channel, server) = first(&mut rig, &server::Builder::new()).await;
    let running = run(server);
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(rig.stats().open, 1);
    drop(channel);
    drop(rig);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_closes_ends_what_is_under_way_and_takes_nothing_new() {
    let mut rig = rig(config());
    let (mut channel, server) = first(&mut rig, &server::Builder::new()).await;
    ask(&mut channel).await;
    drop(server);
    let error = head(&mut channel).await.unwrap_err();
    assert!(!error.unprocessed);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.stats().open, 0);
    assert!(!rig.open().await.is_reused());
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_gets_the_stream_of_one_who_is_done() {
    let mut rig = rig(config().streams(1).connections(1));
    let (channel, server) = first(&mut rig, &server::Builder::new()).await;
    run(server);
    let (upstream, lease) = (rig.upstream.clone(), rig.lease());
    let waiting = tokio::spawn(async move {
        upstream
            .open(0, clock::now(), &lease, Reuse::Any, None)
            .await
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.stats().pending, 1);
    drop(channel);
    assert!(waiting.await.unwrap().unwrap().is_reused());
    let stats = rig.stats();
    assert_eq!((stats.open, stats.pending), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_carries_as_many_exchanges_as_it_may_and_not_one_more() {
    let mut rig = rig(config().requests(2).connections(2));
    let (one, server) = first(&mut rig, &server::Builder::new()).await;
    run(server);
    let two = rig.open().await;
    assert!(two.is_reused());
    let three = rig.open().await;
    assert!(!three.is_reused());
    run(serve(&mut rig, &server::Builder::new()).await);
    drop((one, two));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let stats = rig.stats();
    assert_eq!(
        (stats.open, stats.closed_for(CloseReason::Requests)),
        (1, 1)
    );
    drop(three);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_has_no_content_whichever_frame_ends_it() {
    for is_ended in [true, false] {
        let mut rig = rig(config());
        let (mut channel, mut server) = first(&mut rig, &server::Builder::new()).await;
        let request = parts(Request::head("/").header("host", "a"));
        channel
            .send_head(&request, BodyLength::Empty, None)
            .unwrap();
        let (_, mut respond) = next(&mut server).await;
        let response = Response::builder()
            .header("content-length", "9")
            .body(())
            .unwrap();
        let mut stream = respond.send_response(response, is_ended).unwrap();
        if !is_ended {
            stream.send_data(Bytes::new(), true).unwrap();
        }
        run(server);
        let (parts, length) = final_head(&mut channel).await;
        assert_eq!(
            (length, parts.headers["content-length"].as_bytes()),
            (BodyLength::Empty, &b"9"[..])
        );
        assert!(frame(&mut channel).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_never_says_whether_it_takes_tunnels_takes_none() {
    let patience = Duration::from_secs(2);
    let mut rig = rig(config().connect_timeout(patience));
    let mut channel = rig.open().await;
    let _silent = rig.accept().await;
    let before = clock::now();
    assert!(!channel.takes_upgrades().await);
    assert_eq!(clock::now().since(before), patience);
}

#[tokio::test(start_paused = true)]
async fn clients_that_the_backend_is_told_of_share_no_connection() {
    use crate::upstream::ProxiedAddresses;
    let version = Some(lbcore::proxy_protocol::Version::V1);
    let mut rig = rig(config().proxy_protocol(version).connections(2));
    let ends = |port| {
        let client = format!("192.0.2.1:{port}").parse().unwrap();
        Some(ProxiedAddresses::new(
            client,
            "203.0.113.9:443".parse().unwrap(),
        ))
    };
    let mut channels = Vec::new();
    for (port, is_reused) in [(1000, false), (2000, false), (1000, true), (2000, true)] {
        let lease = rig.lease();
        let opened = rig
            .upstream
            .open(0, clock::now(), &lease, Reuse::Any, ends(port))
            .await;
        channels.push(opened.unwrap());
        assert_eq!(channels.last().unwrap().is_reused(), is_reused, "{port}");
        if !is_reused {
            let mut far = rig.accept().await;
            far.read_exact(&mut [0; 43]).await.unwrap();
            run(server::handshake(far).await.unwrap());
        }
    }
    // A third waits until a whole connection is free, and gets its place, not its streams.
    let (upstream, lease) = (rig.upstream.clone(), rig.lease());
    let third = tokio::spawn(async move {
        upstream
            .open(0, clock::now(), &lease, Reuse::Any, ends(3000))
            .await
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(channels.remove(0));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.stats().pending, 1);
    drop(channels.remove(1));
    let third = third.await.unwrap().unwrap();
    assert!(!third.is_reused());
    let stats = rig.stats();
    assert_eq!(
        (stats.open, stats.closed_for(CloseReason::Reclaimed)),
        (2, 1)
    );
}
