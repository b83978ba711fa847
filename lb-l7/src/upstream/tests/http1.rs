//! Exchanges over HTTP/1.

use super::*;
use crate::h1::Rejection;
use crate::upstream::ChannelErrorKind;
use http::HeaderValue;

#[tokio::test(start_paused = true)]
async fn a_request_goes_out_as_it_is_and_its_answer_comes_back() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    assert!(!channel.is_reused());
    assert_eq!(channel.version(), http::Version::HTTP_11);
    ask(&mut channel).await;
    channel.finish().unwrap();
    let mut far = rig.accept().await;
    let request = read_head(&mut far).await;
    assert_eq!(
        request.to_ascii_lowercase(),
        "get /path?query http/1.1\r\nhost: example.com\r\n\r\n"
    );
    far.write_all(OK.as_bytes()).await.unwrap();
    let (parts, length) = final_head(&mut channel).await;
    assert_eq!((parts.status.as_u16(), length), (200, BodyLength::Exact(2)));
    assert_eq!(content(&mut channel).await.unwrap().0, b"hi");
}

#[tokio::test(start_paused = true)]
async fn interim_answers_come_before_the_final_one_in_any_number_but_a_flood() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    ask(&mut channel).await;
    let mut far = rig.accept().await;
    read_head(&mut far).await;
    for _ in 0..32 {
        far.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .await
            .unwrap();
    }
    for _ in 0..32 {
        let Answer::Informational(parts) = head(&mut channel).await.unwrap() else {
            panic!("a final answer");
        };
        assert_eq!(
            (parts.status.as_u16(), parts.headers["link"].as_bytes()),
            (103, &b"</a>"[..])
        );
    }
    far.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
        .unwrap();
    let error = head(&mut channel).await.unwrap_err();
    assert_eq!(error.kind, ChannelErrorKind::TooManyInformational);
    assert_eq!(head(&mut channel).await.unwrap_err(), error);
    channel.release(clock::now());
    assert_eq!(rig.stats().closed_for(CloseReason::Broken), 1);
}

#[tokio::test(start_paused = true)]
async fn content_of_unknown_length_goes_in_chunks_with_trailers_and_comes_so() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    channel
        .send_head(&post(), BodyLength::Streamed, None)
        .unwrap();
    channel.send_data(Bytes::from_static(b"first")).unwrap();
    channel.send_data(Bytes::new()).unwrap();
    poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    channel.send_data(Bytes::from(vec![b'x'; 40_000])).unwrap();
    poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from(7))]);
    channel.send_trailers(trailers).unwrap();
    channel.finish().unwrap();
    flush(&mut channel).await.unwrap();
    let mut far = rig.accept().await;
    let request = read_head(&mut far).await;
    assert!(
        request
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked\r\n")
    );
    let mut body = vec![0; 10 + 6 + 40_000 + 2 + 3 + 10 + 2];
    far.read_exact(&mut body).await.unwrap();
    assert!(body.starts_with(b"5\r\nfirst\r\n9c40\r\nxxx"));
    assert!(body.ends_with(b"xxx\r\n0\r\nx-sum: 7\r\n\r\n"));

    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-end: 1\r\n\r\n";
    far.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(final_head(&mut channel).await.1, BodyLength::Streamed);
    let (bytes, trailers) = content(&mut channel).await.unwrap();
    assert_eq!(
        (&bytes[..], trailers["x-end"].as_bytes()),
        (&b"hi"[..], &b"1"[..])
    );
    channel.release(clock::now());
    assert_eq!(rig.stats().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn content_is_as_long_as_was_said_or_the_connection_is_not_used_again() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    channel
        .send_head(&post(), BodyLength::Exact(5), None)
        .unwrap();
    channel.send_data(Bytes::from_static(b"1234")).unwrap();
    let wrong = ChannelErrorKind::RequestLength;
    assert_eq!(channel.finish().unwrap_err().kind, wrong);
    assert_eq!(
        channel
            .send_data(Bytes::from_static(b"56"))
            .unwrap_err()
            .kind,
        wrong
    );
    flush(&mut channel).await.unwrap();
    let mut far = rig.accept().await;
    answer(&mut far, OK).await;
    final_head(&mut channel).await;
    content(&mut channel).await.unwrap();
    channel.release(clock::now());
    assert_eq!(rig.stats().closed_for(CloseReason::Aborted), 1);

    let mut channel = rig.open().await;
    channel
        .send_head(&post(), BodyLength::Exact(2), None)
        .unwrap();
    channel.send_data(Bytes::from_static(b"12")).unwrap();
    assert_eq!(
        channel
            .send_data(Bytes::from_static(b"3"))
            .unwrap_err()
            .kind,
        wrong
    );
    channel.send_trailers(HeaderMap::new()).unwrap();
    flush(&mut channel).await.unwrap();
    let mut far = rig.accept().await;
    assert!(
        read_head(&mut far)
            .await
            .to_ascii_lowercase()
            .contains("content-length: 2\r\n")
    );
    let mut body = [0; 2];
    far.read_exact(&mut body).await.unwrap();
    far.write_all(OK.as_bytes()).await.unwrap();
    final_head(&mut channel).await;
    content(&mut channel).await.unwrap();
    channel.release(clock::now());
    assert_eq!(rig.stats().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_is_sent_once_and_before_content() {
    let rig = rig(small());
    let mut channel = rig.open().await;
    assert!(channel.send_data(Bytes::from_static(b"1")).is_err());
    assert!(channel.finish().is_err());
    assert!(frame(&mut channel).await.unwrap().is_err());
    let error = channel
        .send_head(&post(), BodyLength::UntilClose, None)
        .unwrap_err();
    assert_eq!(
        (error.kind, error.unprocessed),
        (ChannelErrorKind::Request, true)
    );
    ask(&mut channel).await;
    let error = channel
        .send_head(&get(), BodyLength::Empty, None)
        .unwrap_err();
    assert_eq!(
        (error.kind, error.unprocessed),
        (ChannelErrorKind::Request, false)
    );
}

/// What a backend may do to an exchange, how it shows, and why the connection ends.
#[tokio::test(start_paused = true)]
async fn each_way_to_break_an_exchange_off_is_told_apart() {
    use ChannelErrorKind as Kind;
    let rows = [
        ("", Kind::ClosedBeforeResponse),
        ("HTTP/1.1 200 OK\r\nA:", Kind::ClosedInHead),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
            Kind::ClosedInBody,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
            Kind::ClosedInBody,
        ),
        (
            "HTTP/1.1 200 OK\nA: b\r\n\r\n",
            Kind::Malformed(Rejection::BareLineFeed),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n",
            Kind::Malformed(Rejection::ChunkSize),
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Kind::Protocol,
        ),
    ];
    for (response, kind) in rows {
        let mut rig = rig(small());
        let mut channel = rig.open().await;
        ask(&mut channel).await;
        let mut far = rig.accept().await;
        answer(&mut far, response).await;
        drop(far);
        let error = match head(&mut channel).await {
            Ok(_) => content(&mut channel).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.kind, error.unprocessed), (kind, false), "{response}");
        assert!(!error.is_stale(false), "{response}");
        assert_eq!(
            error.is_stale(true),
            kind == Kind::ClosedBeforeResponse,
            "{response}"
        );
        channel.release(clock::now());
        assert_eq!(rig.stats().closed_for(CloseReason::Broken), 1, "{response}");
        assert_eq!(rig.stats().open, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_which_nothing_was_written_is_unprocessed() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    drop(rig.accept().await);
    channel.send_head(&get(), BodyLength::Empty, None).unwrap();
    let error = flush(&mut channel).await.unwrap_err();
    assert_eq!(
        (error.kind, error.unprocessed),
        (ChannelErrorKind::Reset, true)
    );
    assert_eq!(poll_fn(|cx| channel.poll_ready(cx)).await, Err(error));
    assert_eq!(channel.send_data(Bytes::from_static(b"1")), Err(error));
    assert_eq!(channel.finish(), Err(error));
    let error = head(&mut channel).await.unwrap_err();
    assert_eq!(
        (error.kind, error.unprocessed),
        (ChannelErrorKind::ClosedBeforeResponse, true)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_given_before_the_backend_stopped_reading_is_still_read() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    channel
        .send_head(&post(), BodyLength::Exact(1 << 24), None)
        .unwrap();
    flush(&mut channel).await.unwrap();
    let mut far = rig.accept().await;
    answer(
        &mut far,
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    drop(far);
    channel.send_data(Bytes::from(vec![0; 9000])).unwrap();
    assert!(flush(&mut channel).await.is_err());
    let (parts, length) = final_head(&mut channel).await;
    assert_eq!((parts.status.as_u16(), length.is_empty()), (413, true));
    channel.release(clock::now());
    assert_eq!(rig.stats().closed_for(CloseReason::Broken), 1);
}

/// Which answers leave a connection that can be used again (CVE-2025-4366 among them).
#[tokio::test(start_paused = true)]
async fn only_a_clean_connection_is_used_again() {
    let rows = [
        (OK, None),
        ("HTTP/1.1 204 No Content\r\n\r\n", None),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
            Some(CloseReason::Unread),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!",
            Some(CloseReason::Unread),
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            Some(CloseReason::NotKept),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some(CloseReason::NotKept),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
            Some(CloseReason::Aborted),
        ),
    ];
    for (response, reason) in rows {
        let mut rig = rig(small());
        let mut channel = rig.open().await;
        ask(&mut channel).await;
        let mut far = rig.accept().await;
        answer(&mut far, response).await;
        if !final_head(&mut channel).await.1.is_empty() {
            frame(&mut channel).await.unwrap().unwrap();
        }
        channel.release(clock::now());
        let stats = rig.stats();
        assert_eq!(stats.idle, u32::from(reason.is_none()), "{response}");
        assert_eq!(
            stats.closed.iter().sum::<u64>(),
            u64::from(reason.is_some())
        );
        if let Some(reason) = reason {
            assert_eq!(stats.closed_for(reason), 1, "{response}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn content_until_the_close_is_whole_at_the_close() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    ask(&mut channel).await;
    let mut far = rig.accept().await;
    answer(&mut far, "HTTP/1.1 200 OK\r\n\r\nall of it").await;
    drop(far);
    assert_eq!(final_head(&mut channel).await.1, BodyLength::UntilClose);
    assert_eq!(content(&mut channel).await.unwrap().0, b"all of it");
    channel.release(clock::now());
    assert_eq!(rig.stats().closed_for(CloseReason::NotKept), 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_answers_head_has_no_content() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    let request = parts(Request::head("/").header("host", "a"));
    channel
        .send_head(&request, BodyLength::Empty, None)
        .unwrap();
    flush(&mut channel).await.unwrap();
    let mut far = rig.accept().await;
    answer(&mut far, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n").await;
    let (parts, length) = final_head(&mut channel).await;
    assert_eq!(
        (
            length.is_empty(),
            parts.headers["content-length"].as_bytes()
        ),
        (true, &b"99"[..])
    );
    assert!(frame(&mut channel).await.is_none());
    channel.release(clock::now());
    assert_eq!(rig.stats().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_makes_a_tunnel_that_begins_with_what_had_come() {
    let mut rig = rig(small().connections(1).pending(0));
    let mut channel = rig.open().await;
    assert!(channel.takes_upgrades().await);
    let upgrade = HeaderValue::from_static("websocket");
    channel
        .send_head(&get(), BodyLength::Empty, Some(&upgrade))
        .unwrap();
    flush(&mut channel).await.unwrap();
    let mut far = rig.accept().await;
    let request = read_head(&mut far).await.to_ascii_lowercase();
    assert!(
        request.contains("connection: upgrade\r\n") && request.contains("upgrade: websocket\r\n")
    );
    let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly";
    far.write_all(response.as_bytes()).await.unwrap();
    let (parts, _) = final_head(&mut channel).await;
    assert_eq!(parts.status.as_u16(), 101);
    assert!(frame(&mut channel).await.is_none());
    let mut tunnel = channel.into_tunnel().unwrap();
    let mut bytes = [0; 3];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ear");
    far.write_all(b" and late").await.unwrap();
    let mut bytes = [0; 11];
    tunnel.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ly and late");
    tunnel.write_all(b"back").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut back = Vec::new();
    far.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"back");
    assert!(rig.try_open(0, Reuse::Any).await.is_err());
    drop(tunnel);
    assert_eq!(rig.stats().closed_for(CloseReason::Tunnel), 1);
    assert_eq!(rig.stats().open, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_upgraded_is_no_tunnel() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    let upgrade = HeaderValue::from_static("websocket");
    channel
        .send_head(&get(), BodyLength::Empty, Some(&upgrade))
        .unwrap();
    flush(&mut channel).await.unwrap();
    let mut far = rig.accept().await;
    answer(&mut far, OK).await;
    final_head(&mut channel).await;
    assert!(channel.into_tunnel().is_err());
    assert_eq!(rig.stats().open, 0);
}
