//! How connections come about, wait for one another, and are used again.

use super::*;
use crate::upstream::ProxiedAddresses;
use lbcore::Delta;
use lbcore::proxy_protocol::Version;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_became_idle_last_is_taken_first() {
    let mut rig = rig(small());
    let (mut one, mut two) = (rig.open().await, rig.open().await);
    let (mut far_one, mut far_two) = (rig.accept().await, rig.accept().await);
    for (channel, far) in [(&mut one, &mut far_one), (&mut two, &mut far_two)] {
        ask(channel).await;
        answer(far, OK).await;
        final_head(channel).await;
        content(channel).await.unwrap();
    }
    two.release(clock::now());
    one.release(clock::now());
    for _ in 0..3 {
        assert!(exchange(&rig, &mut far_one).await);
    }
    let stats = rig.stats();
    assert_eq!(
        (stats.open, stats.idle, stats.opened, stats.reused),
        (2, 2, 2, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_while_idle_is_never_used() {
    let mut rig = rig(small());
    for how in ["checkout", "sweep"] {
        let mut channel = rig.open().await;
        ask(&mut channel).await;
        let mut far = rig.accept().await;
        answer(&mut far, OK).await;
        final_head(&mut channel).await;
        content(&mut channel).await.unwrap();
        channel.release(clock::now());
        drop(far);
        let before = rig.stats().closed_for(CloseReason::BackendClosed);
        if how == "sweep" {
            rig.upstream.sweep(0, clock::now());
        } else {
            let channel = rig.open().await;
            assert!(!channel.is_reused());
            rig.accept().await;
        }
        assert_eq!(
            rig.stats().closed_for(CloseReason::BackendClosed),
            before + 1,
            "{how}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_answer_nothing_end_an_idle_connection() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    ask(&mut channel).await;
    let mut far = rig.accept().await;
    answer(&mut far, OK).await;
    final_head(&mut channel).await;
    content(&mut channel).await.unwrap();
    channel.release(clock::now());
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .unwrap();
    assert!(!rig.open().await.is_reused());
    assert_eq!(rig.stats().closed_for(CloseReason::Unread), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_time_age_and_requests_each_end_a_connection_at_their_limit() {
    let config = small().idle_time(secs(10)).age(secs(25)).requests(4);
    let cases: [(&[u64], CloseReason); 3] = [
        (&[9, 10], CloseReason::Idle),
        (&[9, 9, 7], CloseReason::Age),
        (&[0, 0, 0], CloseReason::Requests),
    ];
    for (waits, reason) in cases {
        let mut rig = rig(config.clone());
        let mut channel = rig.open().await;
        let mut far = rig.accept().await;
        exchange_on(&mut channel, &mut far).await;
        channel.release(clock::now());
        let (last, waits) = waits.split_last().unwrap();
        for wait in waits {
            tokio::time::advance(secs(*wait)).await;
            assert!(exchange(&rig, &mut far).await, "{reason:?}");
        }
        assert_eq!(rig.stats().open, 1);
        tokio::time::advance(secs(*last)).await;
        if reason == CloseReason::Requests {
            assert!(exchange(&rig, &mut far).await);
        } else {
            rig.upstream.sweep(0, clock::now());
        }
        assert_eq!(
            (rig.stats().open, rig.stats().closed_for(reason)),
            (0, 1),
            "{reason:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_are_idle_than_may_be_and_the_oldest_goes() {
    for most in [0, 1, 2] {
        let mut rig = rig(small().idle_connections(most));
        let mut far = Vec::new();
        let mut channels = Vec::new();
        for _ in 0..3 {
            let mut channel = rig.open().await;
            far.push(rig.accept().await);
            ask(&mut channel).await;
            answer(far.last_mut().unwrap(), OK).await;
            final_head(&mut channel).await;
            content(&mut channel).await.unwrap();
            channels.push(channel);
        }
        for channel in channels {
            channel.release(clock::now());
        }
        let stats = rig.stats();
        assert_eq!((stats.idle, stats.open), (most, most));
        assert_eq!(stats.closed_for(CloseReason::Surplus), 3 - u64::from(most));
        if most > 0 {
            assert!(exchange(&rig, &mut far[2]).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_their_order_and_one_more_is_refused_at_once() {
    let mut rig = rig(small().connections(1).pending(2));
    let mut first = rig.open().await;
    let mut far = rig.accept().await;
    let lease = rig.lease();
    let (upstream, order) = (rig.upstream.clone(), Arc::new(Mutex::new(Vec::new())));
    let mut waiting = Vec::new();
    for number in 0..2 {
        let (upstream, order, lease) = (upstream.clone(), Arc::clone(&order), rig.lease());
        waiting.push(tokio::spawn(async move {
            let channel = upstream
                .open(0, clock::now(), &lease, Reuse::Any, None)
                .await
                .unwrap();
            order.lock().unwrap().push(number);
            channel
        }));
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.stats().pending, 2);
    let refused = rig
        .upstream
        .open(0, clock::now(), &lease, Reuse::Any, None)
        .await;
    assert!(matches!(refused, Err(OpenError::QueueFull)));
    assert_eq!((rig.stats().queue_full, rig.stats().open), (1, 1));

    ask(&mut first).await;
    answer(&mut far, OK).await;
    final_head(&mut first).await;
    content(&mut first).await.unwrap();
    first.release(clock::now());
    let second = waiting.remove(0).await.unwrap();
    assert!(second.is_reused());
    assert_eq!(rig.stats().reused, 1);
    assert_eq!(rig.stats().pending, 1);
    drop(second);
    let third = waiting.remove(0).await.unwrap();
    assert!(!third.is_reused());
    assert_eq!(*order.lock().unwrap(), [0, 1]);
    drop(third);
    assert_eq!((rig.stats().open, rig.stats().pending), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_another_worker_is_used_before_anybody_waits_for_it() {
    for pending in [0, 1] {
        let mut rig = rig(small().workers(2).connections(1).pending(pending));
        let mut channel = rig.open().await;
        let mut far = rig.accept().await;
        exchange_on(&mut channel, &mut far).await;
        channel.release(clock::now());
        let channel = rig.try_open(1, Reuse::Any).await.unwrap();
        assert_eq!(channel.is_reused(), pending == 1);
        assert_eq!(rig.stats().open, 1);
        let closed = rig.stats().closed_for(CloseReason::Reclaimed);
        assert_eq!(closed, 1 - u64::from(pending));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_connection_is_fresh_though_one_is_idle_and_though_the_limit_is_one() {
    for most in [1, 2] {
        let mut rig = rig(small().connections(most));
        let mut channel = rig.open().await;
        let mut far = rig.accept().await;
        exchange_on(&mut channel, &mut far).await;
        channel.release(clock::now());
        let channel = rig.try_open(0, Reuse::Fresh).await.unwrap();
        assert!(!channel.is_reused());
        assert_eq!(rig.stats().opened, 2);
        assert_eq!(rig.stats().open, most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_connect_says_whose_fault_it_is_and_leaves_no_place_taken() {
    let rig = rig(small().connections(1).pending(0));
    let rows = [
        (
            io::ErrorKind::ConnectionRefused.into(),
            "connect-refused",
            true,
        ),
        (
            io::ErrorKind::HostUnreachable.into(),
            "connect-unreachable",
            true,
        ),
        (
            io::ErrorKind::NetworkUnreachable.into(),
            "connect-unreachable",
            true,
        ),
        (io::ErrorKind::TimedOut.into(), "connect-timeout", true),
        (
            io::ErrorKind::ConnectionReset.into(),
            "connect-failed",
            true,
        ),
        (
            io::ErrorKind::AddrNotAvailable.into(),
            "connect-local",
            false,
        ),
        (io::Error::from_raw_os_error(24), "connect-local", false),
        (io::Error::from_raw_os_error(23), "connect-local", false),
        (
            io::ErrorKind::Unsupported.into(),
            "connect-unsupported",
            false,
        ),
    ];
    for (number, (failure, name, is_backends)) in (1..).zip(rows) {
        rig.failures.lock().unwrap().push(failure);
        let error = rig.try_open(0, Reuse::Any).await.unwrap_err();
        assert_eq!(
            (error.as_str(), error.is_backends_fault()),
            (name, is_backends)
        );
        assert_eq!((rig.stats().open, rig.stats().failed), (0, number));
    }
    assert_eq!(rig.stats().opened, 0);
    rig.open().await;
}

/// Connects never.
struct Silent;

impl Connect for Silent {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Address) -> io::Result<DuplexStream> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_takes_no_longer_than_it_may() {
    let config = small().connect_timeout(secs(3));
    let Rig { upstream, .. } = rig(config);
    let upstream = upstream.connector(Silent);
    let lease = upstream.acquire(0, clock::now(), &Pick::default()).unwrap();
    let before = clock::now();
    let error = upstream
        .open(0, clock::now(), &lease, Reuse::Any, None)
        .await
        .unwrap_err();
    assert_eq!(
        (error.as_str(), clock::now().since(before)),
        ("connect-timeout", secs(3))
    );
    assert_eq!(upstream.stats()[0].open, 0);
}

/// Waits as often as it is told before each connection.
struct Slow(Memory, usize);

impl Connect for Slow {
    type Stream = DuplexStream;

    async fn connect(&self, address: &Address) -> io::Result<DuplexStream> {
        for _ in 0..self.1 {
            tokio::task::yield_now().await;
        }
        self.0.connect(address).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_given_up_at_any_point_leaves_nothing_taken() {
    for polls in 0..12 {
        let mut rig = rig(small().connections(1).pending(2));
        let (accepted, receiver) = mpsc::unbounded_channel();
        let memory = Memory {
            accepted,
            failures: Arc::default(),
            buffer: 4096,
        };
        rig.upstream = rig.upstream.connector(Slow(memory, 4));
        rig.accepted = receiver;
        let (one, two) = (rig.lease(), rig.lease());
        {
            let mut first = Box::pin(rig.upstream.open(0, clock::now(), &one, Reuse::Any, None));
            let mut second = Box::pin(rig.upstream.open(0, clock::now(), &two, Reuse::Any, None));
            for _ in 0..polls {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let _ = first
                    .as_mut()
                    .poll(&mut context)
                    .map(|channel| channel.map(drop));
                if rig.stats().opened > 0 {
                    break;
                }
                let _ = second
                    .as_mut()
                    .poll(&mut context)
                    .map(|channel| channel.map(drop));
            }
            // Whichever goes first must let the other one through, or nobody.
            if polls % 2 == 0 {
                drop(first);
                drop(second);
            } else {
                drop(second);
                drop(first);
            }
        }
        if !rig.upstream.stats().is_empty() {
            assert_eq!((rig.stats().open, rig.stats().pending), (0, 0), "{polls}");
        }
        rig.open().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_takes_the_place_of_one_who_gave_up() {
    let mut rig = rig(small().connections(1));
    let upstream = rig.upstream.clone();
    let held = rig.open().await;
    rig.accept().await;
    let lease = rig.lease();
    let waiting = tokio::spawn(async move {
        upstream
            .open(0, clock::now(), &lease, Reuse::Any, None)
            .await
            .unwrap()
    });
    tokio::task::yield_now().await;
    assert_eq!(rig.stats().pending, 1);
    drop(held);
    assert_eq!((rig.stats().pending, rig.stats().open), (0, 1));
    assert!(!waiting.await.unwrap().is_reused());
    let stats = rig.stats();
    assert_eq!((stats.open, stats.opened), (0, 2));
    assert_eq!(stats.closed_for(CloseReason::Aborted), 2);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_moves_takes_its_connections_with_it() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    let mut far = rig.accept().await;
    exchange_on(&mut channel, &mut far).await;
    let old = rig.open().await;
    channel.release(clock::now());
    let moved = Backend::new("a", "memory:b".parse().unwrap());
    rig.pool
        .apply(clock::now(), [Delta::Upsert(moved)])
        .unwrap();
    let new = rig.open().await;
    assert!(!new.is_reused());
    assert_eq!(rig.stats().closed_for(CloseReason::Moved), 1);
    drop((old, new));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_gone_is_forgotten_with_its_connections() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    let mut far = rig.accept().await;
    exchange_on(&mut channel, &mut far).await;
    channel.release(clock::now());
    rig.upstream.sweep(0, clock::now());
    assert_eq!(rig.stats().idle, 1);
    let id = rig.stats().backend;
    rig.pool.apply(clock::now(), [Delta::Remove(id)]).unwrap();
    rig.upstream.sweep(0, clock::now());
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    assert!(rig.upstream.stats().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_dropped_closes_what_is_idle_and_what_comes_later() {
    let mut rig = rig(small());
    let mut channel = rig.open().await;
    let mut far = rig.accept().await;
    exchange_on(&mut channel, &mut far).await;
    let mut other = rig.open().await;
    let mut far_other = rig.accept().await;
    exchange_on(&mut other, &mut far_other).await;
    channel.release(clock::now());
    drop(rig);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    other.release(clock::now());
    assert_eq!(far_other.read(&mut [0]).await.unwrap(), 0);
}

async fn exchange_on(channel: &mut Channel, far: &mut DuplexStream) {
    ask(channel).await;
    answer(far, OK).await;
    final_head(channel).await;
    content(channel).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_proxy_header_comes_first_and_ties_the_connection_to_its_client() {
    let mut rig = rig(small()
        .proxy_protocol(Some(Version::V1))
        .connections(2)
        .pending(1));
    let ends = |port| {
        let client = format!("192.0.2.1:{port}").parse().unwrap();
        Some(ProxiedAddresses::new(
            client,
            "203.0.113.9:443".parse().unwrap(),
        ))
    };
    let mut far = Vec::new();
    for (port, is_reused) in [(1000, false), (2000, false), (1000, true), (2000, true)] {
        let lease = rig.lease();
        let opened = rig
            .upstream
            .open(0, clock::now(), &lease, Reuse::Any, ends(port))
            .await;
        let mut channel = opened.unwrap();
        assert_eq!(channel.is_reused(), is_reused);
        ask(&mut channel).await;
        if !is_reused {
            far.push(rig.accept().await);
        }
        let stream = &mut far[usize::from(port == 2000)];
        if !is_reused {
            let mut line = vec![0; 43];
            stream.read_exact(&mut line).await.unwrap();
            let line = String::from_utf8(line).unwrap();
            assert_eq!(
                line,
                format!("PROXY TCP4 192.0.2.1 203.0.113.9 {port} 443\r\n")
            );
        }
        let request = read_head(stream).await;
        assert!(request.starts_with("GET /path"));
        stream.write_all(OK.as_bytes()).await.unwrap();
        final_head(&mut channel).await;
        content(&mut channel).await.unwrap();
        channel.release(clock::now());
    }
    // A third client gets the place of the one who has been idle for longest.
    let lease = rig.lease();
    let third = rig
        .upstream
        .open(0, clock::now(), &lease, Reuse::Any, ends(3000))
        .await
        .unwrap();
    assert!(!third.is_reused());
    assert_eq!(rig.stats().closed_for(CloseReason::Reclaimed), 1);
    assert_eq!(rig.stats().open, 2);
}

#[tokio::test(start_paused = true)]
async fn what_another_worker_gives_up_is_not_one_that_its_backend_has_closed() {
    let mut rig = rig(small().workers(2).connections(2));
    let (mut one, mut two) = (rig.open().await, rig.open().await);
    let (mut far_one, mut far_two) = (rig.accept().await, rig.accept().await);
    exchange_on(&mut one, &mut far_one).await;
    exchange_on(&mut two, &mut far_two).await;
    one.release(clock::now());
    two.release(clock::now());
    drop(far_one);
    let channel = rig.try_open(1, Reuse::Any).await.unwrap();
    // The place of the closed one is as good.
    assert!(!channel.is_reused());
    let stats = rig.stats();
    assert_eq!(stats.closed_for(CloseReason::BackendClosed), 1);
    assert_eq!((stats.open, stats.idle), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_finds_a_connection_carries_no_room_for_opening_one() {
    let rig = rig(small());
    let lease = rig.lease();
    let opening = rig.upstream.open(0, clock::now(), &lease, Reuse::Any, None);
    let (future, channel) = (size_of_val(&opening), size_of::<Channel>());
    assert!(
        future <= 2 * channel && channel <= 512,
        "{future} {channel}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_may_be_and_no_backend_is_blamed() {
    let rig = rig(small().connections(1).pending_time(secs(3)));
    let held = rig.open().await;
    let before = clock::now();
    let error = rig.try_open(0, Reuse::Any).await.unwrap_err();
    assert_eq!(clock::now().since(before), secs(3));
    assert_eq!(
        (error.as_str(), error.is_backends_fault()),
        ("connect-queue-timeout", false)
    );
    let stats = rig.stats();
    assert_eq!(
        (
            stats.open,
            stats.pending,
            stats.queue_timeout,
            stats.queue_full
        ),
        (1, 0, 1, 0)
    );
    drop(held);
}
