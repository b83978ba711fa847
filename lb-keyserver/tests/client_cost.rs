//! What a signature costs the thread that asks for it, without its verification.
//!
//! Run alone, optimised: `cargo test --release -p lb-keyserver --test client_cost -- --ignored`.

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "client/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::client::{AskConfig, ConnectionConfig, KeyClientConfig, Verify};
use lb_keyserver::{KeyClient, RemoteSigner};
use tokio::task::JoinSet;

use world::{PROMPT, World};

/// Nanoseconds that this thread has run.
fn on_cpu() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok()
}

#[test]
#[ignore = "measures; its figures mean nothing beside other tests"]
#[expect(clippy::print_stdout, reason = "its figures are what it is for")]
fn a_signature_at_load_costs_the_client_little() {
    let world = Arc::new(World::new());
    let servers = tokio::runtime::Runtime::new().expect("a runtime");
    let server = servers.block_on(world.serve(PROMPT));
    let own = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let own = own.expect("a runtime");
    for (tasks, each) in [(1, 2_000), (16, 500), (256, 80), (1_024, 20)] {
        let ask = AskConfig::default()
            .verify(Verify::Sampled)
            .attempt_timeout(Duration::from_secs(5));
        let config = KeyClientConfig::default()
            .ask(ask)
            .connections(ConnectionConfig::default().per_server(1));
        let measured = own.block_on(async {
            let client = KeyClient::with_config(server.to(), world.identity(), config);
            let client = client.await.expect("connects");
            run(&world, &client, tasks, each).await;
            let before = on_cpu();
            let requests = run(&world, &client, tasks, each).await;
            let spent = on_cpu().zip(before).map(|(after, before)| after - before);
            spent.map(|spent| spent / requests)
        });
        match measured {
            Some(nanos) => println!("{tasks} at once: {nanos} ns of CPU a signature"),
            None => println!("this kernel does not tell a thread's time"),
        }
    }
}

/// Asks for that many signatures in each of so many tasks.
async fn run(world: &Arc<World>, client: &KeyClient, tasks: u64, each: u64) -> u64 {
    let request = world.request(1).within(Duration::from_secs(60));
    let mut asking = JoinSet::new();
    for _ in 0..tasks {
        let (client, request) = (client.clone(), request.clone());
        asking.spawn(async move {
            for _ in 0..each {
                client.sign(request.clone()).await.expect("signed");
            }
        });
    }
    asking.join_all().await;
    tasks * each
}
