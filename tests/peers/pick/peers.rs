//! The subjects, each with the same backends.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::selection::{Consistent, Random, RoundRobin};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};

use super::Subject;

/// All subjects, each over that many backends of equal weight, all of them up.
pub fn all(backends: usize) -> Vec<Subject> {
    let subject = |name: &str, work| Subject {
        name: name.to_owned(),
        backends,
        same_as: None,
        work,
    };
    vec![
        subject("pingora round-robin", pingora::<RoundRobin>(backends)),
        subject("pingora random", pingora::<Random>(backends)),
        subject("pingora ketama", pingora::<Consistent>(backends)),
        subject("tower p2c pending-requests", tower(backends, pending)),
        subject("tower p2c peak-ewma", tower(backends, peak_ewma)),
    ]
}

/// The addresses of that many backends.
pub fn addresses(backends: usize) -> impl Iterator<Item = SocketAddr> {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    (0..backends).map(move |n| SocketAddr::from((Ipv4Addr::from(first + n as u32), 8080)))
}

/// As pingora's documentation says: one key a request, and 256 steps at most.
fn pingora<S>(backends: usize) -> Box<dyn FnMut(u64)>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let set: BTreeSet<_> = addresses(backends)
        .map(|address| Backend::new(&address.to_string()).expect("an address"))
        .collect();
    let balancer = LoadBalancer::<S>::from_backends(Backends::new(Static::new(set)));
    let updated = balancer.update().now_or_never();
    updated
        .expect("a static list is there")
        .expect("and is right");
    let mut key: u64 = 0;
    Box::new(move |picks| {
        for _ in 0..picks {
            key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
            black_box(
                balancer
                    .select(&key.to_ne_bytes(), 256)
                    .expect("all are up"),
            );
        }
    })
}

/// A service that has answered at once.
#[derive(Debug)]
struct Instantly;

impl Service<u64> for Instantly {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}

fn pending(service: Instantly) -> PendingRequests<Instantly> {
    PendingRequests::new(service, CompleteOnResponse::default())
}

/// The round trip and the decay that linkerd starts from.
fn peak_ewma(service: Instantly) -> PeakEwma<Instantly> {
    let decay = Duration::from_secs(10).as_nanos() as f64;
    let completion = CompleteOnResponse::default();
    PeakEwma::new(service, Duration::from_millis(30), decay, completion)
}

fn tower<S>(backends: usize, measured: fn(Instantly) -> S) -> Box<dyn FnMut(u64)>
where
    S: Service<u64, Error: Into<tower::BoxError>> + Load<Metric: std::fmt::Debug> + 'static,
{
    let services: Vec<_> = addresses(backends).map(|_| measured(Instantly)).collect();
    let mut balance = Balance::new(ServiceList::new::<u64>(services));
    let mut context = Context::from_waker(Waker::noop());
    // The first call takes in every service.
    assert!(balance.poll_ready(&mut context).is_ready());
    Box::new(move |picks| {
        let mut context = Context::from_waker(Waker::noop());
        for request in 0..picks {
            let Poll::Ready(Ok(())) = balance.poll_ready(&mut context) else {
                panic!("a service is always ready");
            };
            let response = pin!(balance.call(request)).poll(&mut context);
            assert!(black_box(response).is_ready());
        }
    })
}
