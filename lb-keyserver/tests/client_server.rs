//! Our client and our server, over loopback.

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "client/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use lb_keyserver::access::{AccessList, Rule};
use lb_keyserver::client::{BreakerState, KeyClientConfig, ServerStats};
use lb_keyserver::server::KeyServerConfig;
use lb_keyserver::wire::ErrorCode;
use lb_keyserver::{KeyClient, KeyServer, Mode, RemoteSigner, SignError};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use world::{World, any_port};

/// A server that runs until it is told to stop.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Serves the nodes of that name.
    async fn start(world: &World, at: SocketAddr, nodes: &str) -> Self {
        let rule = Rule::new(nodes.parse().expect("a pattern")).all_keys();
        let rule = rule.least_mode(Mode::Plain);
        let access = AccessList::new([rule]).expect("good rules");
        let config = KeyServerConfig::default().modes(Mode::ALL);
        let server = KeyServer::new(world.store(), access, config);
        let bound = server.bind(at, world.identity()).await.expect("bound");
        let address = bound.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(bound.run_until(async { drop(stopped.await) }));
        Self {
            address,
            stop,
            task,
        }
    }

    async fn stop(self) -> SocketAddr {
        drop(self.stop);
        self.task.await.expect("ends");
        self.address
    }
}

async fn connect(world: &World, servers: &[&Running], mode: Mode) -> KeyClient {
    let addresses: Vec<_> = servers
        .iter()
        .map(|server| server.address.to_string())
        .collect();
    let config = KeyClientConfig::default().mode(mode);
    let client = KeyClient::with_config(addresses, world.identity(), config).await;
    client.unwrap_or_else(|error| panic!("{mode:?}: {error}"))
}

/// Asks for `many` at once; every one has to be signed, and well.
async fn sign_all(world: &Arc<World>, client: &KeyClient, many: u64) {
    let mut tasks = JoinSet::new();
    for n in 0..many {
        let (world, client) = (Arc::clone(world), client.clone());
        tasks.spawn(async move {
            let signed = client.sign(world.request(n)).await;
            signed.map(|signature| assert!(world.verifies(n, &signature)))
        });
    }
    let failed = tasks
        .join_all()
        .await
        .iter()
        .filter(|end| end.is_err())
        .count();
    assert_eq!(failed, 0, "{:#?}", client.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_signed_in_the_plain_and_the_bound_mode() {
    let world = Arc::new(World::new());
    let server = Running::start(&world, any_port(), "lb://node/*").await;
    for mode in [Mode::Plain, Mode::Bound] {
        let client = connect(&world, &[&server], mode).await;
        sign_all(&world, &client, 1_000).await;
        let stats = client.stats();
        assert_eq!(
            (stats.signed, stats.failed.total(), stats.bad_signatures),
            (1_000, 0, 0)
        );
        client.close().await;
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_node_s_looks_like_none() {
    let world = World::new();
    let server = Running::start(&world, any_port(), "lb://node/8").await;
    let client = KeyClient::connect(server.address.to_string(), world.identity()).await;
    let Ok(client) = client else {
        // Who may use no key at all may be turned away at the door as well.
        return;
    };
    let refused = client.sign(world.request(1)).await;
    assert_eq!(refused, Err(SignError::Refused(ErrorCode::KeyNotFound)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_drained_in_turn_fail_no_request() {
    let world = Arc::new(World::new());
    let start = async |at| Running::start(&world, at, "lb://node/*").await;
    let (mut one, mut other) = (start(any_port()).await, start(any_port()).await);
    let client = connect(&world, &[&one, &other], Mode::Bound).await;
    for _ in 0..3 {
        both_connected(&client).await;
        let restarting = async { start(one.stop().await).await };
        let (again, ()) = tokio::join!(restarting, sign_all(&world, &client, 500));
        sign_all(&world, &client, 100).await;
        (one, other) = (other, again);
    }
    assert_eq!(client.stats().failed.total(), 0);
}

/// Waits until both servers may be asked.
async fn both_connected(client: &KeyClient) {
    let so = || {
        let stats = client.stats();
        let servers = stats.servers.iter();
        let usable =
            |server: &&ServerStats| server.connections > 0 && server.state == BreakerState::Closed;
        servers.filter(usable).count() == 2
    };
    let waiting = async {
        while !so() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await;
    waited.unwrap_or_else(|_| panic!("{:#?}", client.stats()));
}
