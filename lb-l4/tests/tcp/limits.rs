//! Who may come, and how much may pass.

use std::sync::Arc;
use std::time::Duration;

use lb_l4::stream::{Refused, Settings, TcpConfig};
use lbcore::address_list::AddressRules;
use lbcore::budget::{Budget, BudgetConfig, Resource};
use lbcore::limit::LimitConfig;
use lbcore::persist::SourceAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::setup::{Front, eventually, is_turned_away, listener, pool, run};

#[test]
fn a_client_that_the_lists_deny_is_refused() {
    run(async {
        let backend = listener().await;
        let web = pool([backend.local_addr().unwrap()]);
        let rules = AddressRules::new([], ["127.0.0.1/32".parse().unwrap()]);
        let front = Front::start(Settings::new(web.clone()).rules(rules)).await;
        assert!(is_turned_away(front.address).await);
        assert_eq!(front.handle.stats().refused(Refused::Denied), 1);

        let rules = AddressRules::new(["127.0.0.0/8".parse().unwrap()], []);
        front
            .handle
            .update(Settings::new(web).rules(rules))
            .unwrap();
        drop(front.session(&backend).await);
        front.finish().await;
    });
}

#[test]
fn behind_a_proxy_the_lists_judge_the_client_it_tells_of() {
    run(async {
        let backend = listener().await;
        let rules = AddressRules::new([], ["192.0.2.0/24".parse().unwrap()]);
        let settings = Settings::new(pool([backend.local_addr().unwrap()]))
            .rules(rules)
            .config(TcpConfig::default().accept_proxy());
        let front = Front::start(settings).await;
        let mut client = TcpStream::connect(front.address).await.unwrap();
        let header = b"PROXY TCP4 192.0.2.1 203.0.113.10 40000 443\r\n";
        client.write_all(header).await.unwrap();
        assert!(client.read(&mut [0]).await.is_err());
        assert_eq!(front.handle.stats().refused(Refused::Denied), 1);
        front.finish().await;
    });
}

#[test]
fn a_session_beyond_the_limit_is_refused_until_one_has_ended() {
    run(async {
        let backend = listener().await;
        let settings = Settings::new(pool([backend.local_addr().unwrap()]))
            .limits(LimitConfig::default().connections(2));
        let front = Front::start(settings).await;
        let (first, second) = (front.session(&backend).await, front.session(&backend).await);
        assert!(is_turned_away(front.address).await);
        assert_eq!(front.handle.stats().refused(Refused::Connections), 1);
        drop(first);
        eventually(|| front.handle.stats().active() == 1).await;
        drop((front.session(&backend).await, second));
        front.finish().await;
    });
}

#[test]
fn more_new_sessions_in_a_second_than_may_be_are_refused() {
    run(async {
        let backend = listener().await;
        let settings = Settings::new(pool([backend.local_addr().unwrap()]))
            .limits(LimitConfig::default().connections_per_second(1));
        let front = Front::start(settings).await;
        let first = front.session(&backend).await;
        assert!(is_turned_away(front.address).await);
        assert_eq!(front.handle.stats().refused(Refused::Rate), 1);
        drop(first);
        front.finish().await;
    });
}

#[test]
fn a_session_beyond_the_budget_of_the_process_is_refused() {
    run(async {
        let backend = listener().await;
        let budget = Budget::new(BudgetConfig::default().sessions(1));
        let settings = Settings::new(pool([backend.local_addr().unwrap()])).budget(budget.clone());
        let front = Front::start(settings).await;
        let first = front.session(&backend).await;
        assert!(is_turned_away(front.address).await);
        assert_eq!(front.handle.stats().refused(Refused::Budget), 1);
        drop(first);
        eventually(|| front.handle.stats().active() == 0).await;
        drop(front.session(&backend).await);
        front.finish().await;
        for resource in Resource::ALL {
            assert_eq!(budget.stats(resource).used, 0);
        }
    });
}

#[test]
fn a_client_comes_to_the_backend_it_had() {
    run(async {
        let (one, other) = (listener().await, listener().await);
        let web = pool([one.local_addr().unwrap(), other.local_addr().unwrap()]);
        let memory = Arc::new(SourceAddress::lasting(Duration::from_secs(300)));
        let front = Front::start(Settings::new(web).persistence(memory)).await;
        let client = TcpStream::connect(front.address).await.unwrap();
        let (had, server) = tokio::select! {
            server = one.accept() => (&one, server),
            server = other.accept() => (&other, server),
        };
        let mut sessions = vec![(client, server.unwrap().0)];
        for _ in 0..10 {
            sessions.push(front.session(had).await);
        }
        drop(sessions);
        front.finish().await;
    });
}

#[test]
fn bytes_pass_no_faster_than_their_limit_and_all_arrive() {
    run(async {
        // Beyond the burst of 64 KiB, 256 KiB at 512 KiB a second take half a second.
        const RATE: usize = 512 * 1024;
        const LENGTH: usize = 320 * 1024;
        let backend = listener().await;
        let limits = LimitConfig::default().bytes_per_second_out(RATE as u64);
        let settings = Settings::new(pool([backend.local_addr().unwrap()])).limits(limits);
        let front = Front::start(settings).await;
        let (mut client, mut server) = front.session(&backend).await;
        let began = lb_l4::Clock::monotonic().now();
        let sending = tokio::spawn(async move {
            server.write_all(&vec![7; LENGTH]).await.unwrap();
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        let took = lb_l4::Clock::monotonic().now().since(began);
        sending.await.unwrap();
        assert_eq!(got.len(), LENGTH);
        assert!(took >= Duration::from_millis(450), "{took:?}");
        drop(client);
        front.finish().await;
    });
}
