//! The limit and the queue, alone and under many threads.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};

use lbcore::BackendId;
use proptest::prelude::*;
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::upstream::gate::{Entry, Gate, Grant, Place, Waiter};
use crate::upstream::state::BackendState;
use crate::upstream::stats::Counts;

type State = BackendState<u32>;

fn state(most: u32, pending: u32) -> Arc<State> {
    Arc::new(State {
        id: BackendId::new(1),
        gate: Gate::new(most, pending),
        shared: AtomicU32::new(1),
        counts: Counts::default(),
    })
}

/// What a waiter has been given, if anything.
fn granted(waiter: &mut Waiter<u32>) -> Option<Grant<u32>> {
    let mut turn = std::pin::pin!(waiter.turn());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match turn.as_mut().poll(&mut context) {
        std::task::Poll::Ready(grant) => grant,
        std::task::Poll::Pending => None,
    }
}

fn place(state: &Arc<State>) -> Place<u32> {
    match Gate::enter(state, 1) {
        Ok(Entry::Place(place)) => place,
        other => panic!("no place: {other:?}"),
    }
}

fn wait(state: &Arc<State>, shared: u32) -> Waiter<u32> {
    match Gate::enter(state, shared) {
        Ok(Entry::Wait(waiter)) => waiter,
        other => panic!("no wait: {other:?}"),
    }
}

#[test]
fn a_place_given_back_goes_to_the_first_who_still_waits() {
    let state = state(1, 3);
    let held = place(&state);
    let (first, mut second, mut third) = (wait(&state, 1), wait(&state, 1), wait(&state, 1));
    assert!(Gate::enter(&state, 1).is_err());
    drop(first);
    assert_eq!(state.gate.waiting(), 2);
    drop(held);
    assert!(granted(&mut third).is_none());
    let Some(Grant::Place(place)) = granted(&mut second) else {
        panic!("no place");
    };
    drop((place, second));
    assert_eq!((state.gate.open(), state.gate.waiting()), (1, 0));
    // It is given, and has not been looked at.
    drop(third);
    assert_eq!((state.gate.open(), state.gate.waiting()), (0, 0));
}

#[test]
fn what_is_handed_over_goes_to_the_first_and_comes_back_if_nobody_waits() {
    let state = state(1, 2);
    assert_eq!(state.gate.hand_over(7), Err(7));
    let held = place(&state);
    let (mut first, mut second) = (wait(&state, 1), wait(&state, 1));
    assert_eq!(state.gate.hand_over(8), Ok(()));
    assert!(matches!(granted(&mut first), Some(Grant::Held(8))));
    drop(first);
    assert_eq!(state.gate.hand_over(9), Ok(()));
    assert!(matches!(granted(&mut second), Some(Grant::Held(9))));
    assert_eq!(state.gate.hand_over(10), Err(10));
    drop(held);
}

#[test]
fn as_many_wait_for_a_connection_on_its_way_as_it_will_serve() {
    let state = state(3, 10);
    let mut first = place(&state);
    let mut waiters: Vec<_> = (0..3).map(|_| wait(&state, 4)).collect();
    // The fifth needs a second connection, and three more can share that one.
    let Ok(Entry::Place(second)) = Gate::enter(&state, 4) else {
        panic!("no place");
    };
    waiters.extend((0..3).map(|_| wait(&state, 4)));
    first.connected();
    // The first serves its own and one other: of the five left, three wait for the second.
    assert_eq!(state.gate.hand_over(1), Ok(()));
    Gate::admit(&state, 4);
    assert_eq!((state.gate.open(), state.gate.waiting()), (3, 4));
    drop(second);
    assert_eq!((state.gate.open(), state.gate.waiting()), (3, 3));
    drop(waiters);
    assert_eq!((state.gate.open(), state.gate.waiting()), (1, 0));
    drop(first);
    assert_eq!(state.gate.open(), 0);
}

#[test]
fn when_connections_turn_out_not_to_be_shared_each_who_waits_opens_one() {
    let state = state(4, 10);
    let mut first = place(&state);
    let mut waiters: Vec<_> = (0..5).map(|_| wait(&state, 100)).collect();
    first.connected();
    Gate::admit(&state, 1);
    assert_eq!((state.gate.open(), state.gate.waiting()), (4, 2));
    let places: Vec<_> = waiters.iter_mut().filter_map(granted).collect();
    assert_eq!(places.len(), 3);
}

#[test]
fn nobody_waits_for_a_connection_to_share_where_nobody_may_wait() {
    let state = state(2, 0);
    let first = place(&state);
    let Ok(Entry::Place(second)) = Gate::enter(&state, 100) else {
        panic!("no place");
    };
    assert!(Gate::enter(&state, 100).is_err());
    drop((first, second));
    assert_eq!(state.gate.open(), 0);
}

#[test]
fn a_place_used_again_is_still_one() {
    let state = state(1, 0);
    let mut held = place(&state);
    held.connected();
    let mut again = held.again(CloseReason::Reclaimed);
    assert_eq!(state.gate.open(), 1);
    again.connected();
    drop(again.again(CloseReason::Unread));
    assert_eq!(state.gate.open(), 0);
    let stats = state.counts.read(state.id);
    assert_eq!(stats.opened, 2);
    assert_eq!(stats.closed_for(CloseReason::Reclaimed), 1);
    assert_eq!(stats.closed_for(CloseReason::Unread), 1);
    assert_eq!(stats.closed.iter().sum::<u64>(), 2);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(u32),
    Connect(usize),
    Drop(usize),
    Leave(usize),
    Take(usize),
    HandOver,
    Admit(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u32..4).prop_map(Step::Enter),
        2 => any::<usize>().prop_map(Step::Connect),
        2 => any::<usize>().prop_map(Step::Drop),
        1 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::Take),
        1 => Just(Step::HandOver),
        1 => (1_u32..4).prop_map(Step::Admit),
    ]
}

proptest! {
    /// Whatever happens in whatever order: the limit and the length of the queue hold, who waits is
    /// served in order, and in the end nothing is left taken.
    #[test]
    fn the_limit_holds_and_nothing_leaks(
        most in 1_u32..4,
        pending in 0_u32..5,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let state = state(most, pending);
        let (mut places, mut waiters) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Enter(shared) => match Gate::enter(&state, shared) {
                    Ok(Entry::Place(place)) => places.push(place),
                    Ok(Entry::Wait(waiter)) => waiters.push(waiter),
                    Err(_) => prop_assert_eq!(state.gate.waiting(), pending),
                },
                Step::Connect(at) if !places.is_empty() => {
                    let at = at % places.len();
                    places[at].connected();
                }
                Step::Drop(at) if !places.is_empty() => drop(places.swap_remove(at % places.len())),
                Step::Leave(at) if !waiters.is_empty() => {
                    drop(waiters.remove(at % waiters.len()));
                }
                Step::Take(at) if !waiters.is_empty() => {
                    let at = at % waiters.len();
                    if let Some(grant) = granted(&mut waiters[at]) {
                        drop(waiters.remove(at));
                        if let Grant::Place(place) = grant {
                            places.push(place);
                        }
                    }
                }
                Step::HandOver => {
                    let waiting = state.gate.waiting();
                    prop_assert_eq!(state.gate.hand_over(1).is_ok(), waiting > 0);
                }
                Step::Admit(shared) => Gate::admit(&state, shared),
                _ => {}
            }
            prop_assert!(state.gate.open() <= most);
            prop_assert!(state.gate.waiting() <= pending);
            prop_assert!(places.len() <= state.gate.open() as usize);
        }
        // Nobody behind one who still waits has been served.
        let mut is_waiting = false;
        let mut grants = Vec::new();
        for waiter in &mut waiters {
            match granted(waiter) {
                Some(grant) => {
                    prop_assert!(!is_waiting);
                    grants.push(grant);
                }
                None => is_waiting = true,
            }
        }
        drop(waiters);
        drop(grants);
        drop(places);
        prop_assert_eq!((state.gate.open(), state.gate.waiting()), (0, 0));
    }
}

/// A backend on a real socket that answers every request.
async fn listen() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream));
        }
    });
    address
}

async fn answer_all<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut stream: S) {
    let mut seen = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        seen.push(byte);
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            if stream.write_all(OK.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_many_tasks_on_many_threads_the_limit_is_exact() {
    let pool = Pool::new(RoundRobin).backend(Backend::new("a", listen().await.into()));
    let config = UpstreamConfig::default()
        .workers(3)
        .connections(4)
        .pending(64);
    let upstream = Upstream::new(pool).config(config).unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..48)
        .map(|worker| {
            let (upstream, done) = (upstream.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                for round in 0..30 {
                    let lease = upstream
                        .acquire(worker, clock::now(), &Pick::default())
                        .unwrap();
                    let opening = upstream.open(worker, clock::now(), &lease, Reuse::Any, None);
                    let mut channel = if round % 7 == worker % 7 {
                        // Some give up early: nothing of them may be left behind.
                        match tokio::time::timeout(Duration::from_micros(50), opening).await {
                            Ok(channel) => channel.unwrap(),
                            Err(_) => continue,
                        }
                    } else {
                        opening.await.unwrap()
                    };
                    assert!(upstream.stats()[0].open <= 4);
                    if round % 5 == 4 {
                        continue;
                    }
                    ask(&mut channel).await;
                    final_head(&mut channel).await;
                    assert_eq!(content(&mut channel).await.unwrap().0, b"hi");
                    channel.release(clock::now());
                    done.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = upstream.stats()[0];
    assert_eq!((stats.open, stats.pending), (stats.idle, 0));
    assert!(done.load(SeqCst) > 800);
    assert!(stats.reused > 500, "{stats:?}");
    assert_eq!(
        stats.opened - stats.closed.iter().sum::<u64>(),
        u64::from(stats.open)
    );
}

#[tokio::test]
async fn sockets_of_both_kinds_are_dialled_and_a_closed_port_refuses() {
    let address = listen().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let path = std::env::temp_dir().join(format!("lb-l7-{}-upstream.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { answer_all(listener.accept().await.unwrap().0).await });
    let unix = format!("unix:{}", path.display()).parse().unwrap();
    for (address, opens) in [(address.into(), true), (nobody.into(), false), (unix, true)] {
        let pool = Pool::new(RoundRobin).backend(Backend::new("a", address));
        let upstream = Upstream::from(pool);
        let lease = upstream.acquire(0, clock::now(), &Pick::default()).unwrap();
        match upstream
            .open(0, clock::now(), &lease, Reuse::Any, None)
            .await
        {
            Ok(mut channel) => {
                assert!(opens);
                ask(&mut channel).await;
                final_head(&mut channel).await;
                assert_eq!(content(&mut channel).await.unwrap().0, b"hi");
            }
            Err(error) => assert_eq!((error.as_str(), opens), ("connect-refused", false)),
        }
    }
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn addresses_in_this_process_need_a_connector() {
    let pool = Pool::new(RoundRobin).backend(Backend::new("a", "memory:a".parse().unwrap()));
    let upstream = Upstream::new(pool);
    let lease = upstream.acquire(0, clock::now(), &Pick::default()).unwrap();
    let error = upstream
        .open(0, clock::now(), &lease, Reuse::Any, None)
        .await
        .unwrap_err();
    assert_eq!(error.as_str(), "connect-unsupported");
    assert_eq!(upstream.stats()[0].open, 0);
}
