//! Trying servers whose breaker is open: a PING, and a signature that is verified.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::{Failure, Passed, ServerId};
use crate::sign::SignRequest;
use crate::wire::ErrorCode;

use super::call::{Call, Question, Reply, Waiter};
use super::lane::Item;
use super::shared::{Gate, Phase, Shared};

/// Makes the trials that are due, until the client is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut phase = shared.phase.subscribe();
    let mut trials = JoinSet::new();
    loop {
        let now = shared.clock.now();
        let due = || shared.servers().poll_trial(now);
        while let Some((server, gate)) = due() {
            let shared = Arc::clone(&shared);
            trials.spawn(async move { attempt(&shared, server, &gate).await });
        }
        let next = shared.servers().poll_timeout();
        let next = shared.clock.to_tokio(next.unwrap_or(lbcore::Instant::MAX));
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => return,
            () = shared.trials.notified() => {}
            () = tokio::time::sleep_until(next) => {}
            Some(_) = trials.join_next() => {}
        }
    }
}

async fn attempt(shared: &Shared, server: ServerId, gate: &Gate) {
    let passed = passes(shared, server, gate).await;
    shared.note(|now, servers| servers.handle_trial(now, server, passed));
    tracing::debug!(server = %gate.address, ?passed, "tried a key server");
}

async fn passes(shared: &Shared, server: ServerId, gate: &Gate) -> Passed {
    let patience = shared.config.connections.ping_timeout;
    let pong = put(shared, server, gate, Question::Ping, patience).await;
    if !matches!(pong, Some(Reply::Pong)) {
        return Passed::No;
    }
    // Without anything ever signed there is nothing to try it with.
    let Some(request) = shared.canary() else {
        return Passed::Yes;
    };
    let question = Question::Sign(request.clone());
    match put(shared, server, gate, question, SignRequest::WITHIN).await {
        Some(Reply::Signature(signature)) => {
            let SignRequest {
                key,
                scheme,
                message,
                ..
            } = &request;
            if key.verifies(*scheme, message, &signature) {
                Passed::Yes
            } else {
                shared.note(|now, servers| servers.handle_lie(now, server));
                Passed::No
            }
        }
        // The key is gone, perhaps from everywhere: a server must not stay shut out for it.
        Some(Reply::Failed(Failure::Refused(ErrorCode::KeyNotFound))) => {
            shared.forget_canary();
            Passed::Yes
        }
        _ => Passed::No,
    }
}

/// Puts one question to one server; `None` when no answer comes in time.
async fn put(
    shared: &Shared,
    server: ServerId,
    gate: &Gate,
    question: Question,
    patience: Duration,
) -> Option<Reply> {
    let deadline = shared.clock.now() + patience;
    let call = Call::new(question);
    let item = Item {
        waiter: Waiter::new(Arc::clone(&call), 0),
        slow_at: lbcore::Instant::MAX,
        deadline,
    };
    shared.servers().handle_asked(server);
    if gate.lanes.push(item).is_err() {
        shared.servers().handle_expired(server);
    }
    let reply = poll_fn(|task| call.poll_reply(task));
    let reply = tokio::time::timeout_at(shared.clock.to_tokio(deadline), reply).await;
    call.end();
    reply.ok().map(|(_, reply)| reply)
}
