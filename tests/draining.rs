//! A backend is told to leave by a new file: its sessions go on, and it gets no new one.

use std::fmt::Write;
use std::net::SocketAddr;

use harness::clb::Clb;
use harness::client::Client;
use harness::host::free_address;
use harness::procfs::Protocol;
use harness::server::{Behaviour, Server};
use harness::steady::{Load, assert_none_failed};
use harness::wait::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_draining_backend_keeps_its_sessions_and_gets_no_new_one() {
    leaves_softly(Some("admin = \"drain\"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backend_of_weight_0_keeps_its_sessions_and_gets_no_new_one() {
    leaves_softly(Some("weight = 0")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_removed_backend_keeps_its_sessions_and_gets_no_new_one() {
    leaves_softly(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backend_in_maintenance_keeps_its_sessions_and_gets_no_new_one() {
    leaves_softly(Some("admin = \"maintenance\"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backend_in_maintenance_is_not_probed_and_one_that_drains_is() {
    let scene = Scene::start().await;
    scene.reload(Some("admin = \"maintenance\""), 1);
    let probes = scene.probes("a");
    scene.await_probes("b", 5.0);
    // One may have been under way.
    assert!(scene.probes("a") <= probes + 1.0);
    scene.reload(Some("admin = \"drain\""), 2);
    scene.await_probes("a", 5.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_drained_backend_can_be_shut_down_and_comes_back_ready() {
    let scene = Scene::start().await;
    scene.reload(Some("admin = \"drain\""), 1);
    let load = Load::of_short_sessions(scene.front, 4, 1_000);
    load.await_more(20);
    // Its last session is over, so it may go, and nobody is sent to where it was.
    let Scene {
        clb,
        front,
        leaving,
        staying,
        client,
    } = scene;
    assert_eq!(client.finish().await.unwrap(), 0);
    eventually(PATIENCE, "a has no session", || active(&clb, "a") == 0.0);
    let address = leaving.address();
    leaving.stop().await;
    load.await_more(40);
    assert_none_failed(&load.stop().await);
    let tried = clb
        .metrics()
        .sum("clb_listener_connect_failures_total", &[]);
    assert_eq!(tried, 0.0);

    let leaving = Server::tcp_at(address, Behaviour::Named("a".into()));
    clb.reload(&file(front, &leaving, &staying, Some("")), 2);
    let load = Load::of_short_sessions(front, 4, 1_000);
    eventually(PATIENCE, "a takes sessions again", || leaving.bytes() > 0);
    load.await_more(20);
    assert_none_failed(&load.stop().await);
}

/// What is said of a backend makes it leave; none removes it.
async fn leaves_softly(said: Option<&str>) {
    let mut scene = Scene::start().await;
    let load = Load::of_short_sessions(scene.front, 4, 1_000);
    load.await_more(20);
    scene.reload(said, 1);
    // Who was sent to a before the reload may connect a moment after it.
    scene
        .client
        .exchange(10_000)
        .await
        .expect("the session goes on");
    load.await_more(8);
    let picked = scene.picks("a");
    let late = Load::of_short_sessions(scene.front, 4, 1_000);
    late.await_more(100);
    let late = late.stop().await;
    assert_none_failed(&late);
    assert!(late.iter().all(|r| r.server.as_deref() == Some("b")));
    assert_eq!(scene.picks("a"), picked);

    scene
        .client
        .exchange(200_000)
        .await
        .expect("the session goes on");
    assert_eq!(scene.client.finish().await.expect("the session goes on"), 0);
    assert_none_failed(&load.stop().await);
    assert_eq!(scene.clb.ended("front", "backend-reset"), 0.0);
    assert_eq!(scene.clb.metrics().sum("clb_refused_total", &[]), 0.0);
}

/// Two backends, and a client of the one that is about to leave.
struct Scene {
    clb: Clb,
    front: SocketAddr,
    leaving: Server,
    staying: Server,
    client: Client,
}

impl Scene {
    async fn start() -> Self {
        let [leaving, staying] = ["a", "b"].map(|name| Server::tcp(Behaviour::Named(name.into())));
        let front = free_address();
        let clb = Clb::start(2, &file(front, &leaving, &staying, Some("")));
        let clb = clb.serves(Protocol::Tcp, front);
        for seed in 0..100 {
            let mut client = Client::connect(front, seed)
                .await
                .expect("the session goes on");
            if client.line().await.expect("the session goes on") == "a" {
                client.exchange(1_000).await.expect("the session goes on");
                return Self {
                    clb,
                    front,
                    leaving,
                    staying,
                    client,
                };
            }
        }
        panic!("a gets no session");
    }

    #[track_caller]
    fn reload(&self, said: Option<&str>, times: u32) {
        let file = file(self.front, &self.leaving, &self.staying, said);
        self.clb.reload(&file, times);
    }

    fn probes(&self, backend: &str) -> f64 {
        let labels = [("backend", backend)];
        self.clb.metrics().sum("clb_backend_probes_total", &labels)
    }

    #[track_caller]
    fn await_probes(&self, backend: &str, more: f64) {
        let enough = self.probes(backend) + more;
        eventually(PATIENCE, "it is probed", || self.probes(backend) >= enough);
    }

    fn picks(&self, backend: &str) -> f64 {
        let labels = [("backend", backend)];
        self.clb.metrics().sum("clb_backend_picks_total", &labels)
    }
}

fn active(clb: &Clb, backend: &str) -> f64 {
    let labels = [("backend", backend)];
    clb.metrics().sum("clb_backend_sessions_active", &labels)
}

/// Two backends of which the first has more lines, or is left out.
fn file(front: SocketAddr, leaving: &Server, staying: &Server, said: Option<&str>) -> String {
    let mut file = String::from(
        "[[pool]]\nname = \"web\"\nscheduler = \"round-robin\"\n\
         health = { kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\" }\n",
    );
    let lines = [("a", leaving, said), ("b", staying, Some(""))];
    for (name, server, said) in lines {
        if let Some(said) = said {
            let address = server.address();
            write!(
                file,
                "[[pool.backends]]\nname = \"{name}\"\naddress = \"{address}\"\n{said}\n"
            )
            .expect("a string takes text");
        }
    }
    file + &format!(
        "[[listener]]\nname = \"front\"\nprotocol = \"tcp\"\nlisten = \"{front}\"\npool = \"web\"\n"
    )
}
