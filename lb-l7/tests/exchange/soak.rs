//! Thousands of requests, cut into pieces anywhere, against a model of what each is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

use lbcore::rng::{Rng, Xoshiro};

use crate::rig::{Announced, Client, Http1, Http2, Plan, Raw, Served, Speaks, World, secs};

const CLIENTS: usize = 20;
const SEED: u64 = 0x5eed_0001;

/// One request, and what is to come of it.
#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    path: String,
    body: Vec<u8>,
    is_chunked: bool,
}

impl Ask {
    fn random(rng: &mut Xoshiro, client: usize, number: usize) -> Self {
        let method = ["GET", "HEAD", "POST", "PUT", "DELETE"][rng.below(5) as usize];
        let length = match rng.below(20) {
            _ if !matches!(method, "POST" | "PUT") => 0,
            0 => rng.below(40_000),
            1..8 => rng.below(3000),
            _ => rng.below(60),
        };
        let byte = rng.below(26) as u8;
        Self {
            method,
            path: format!("/{client}/{number}/{}", rng.below(6)),
            body: (0..length)
                .map(|n| b'a' + (byte + n as u8 % 26) % 26)
                .collect(),
            is_chunked: rng.below(2) == 0,
        }
    }

    /// The body of its answer: what was asked for, some times over.
    fn answer(method: &str, path: &str, body: &[u8]) -> String {
        let sum = body
            .iter()
            .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        let text = format!("{method} {path} {} {sum};", body.len());
        let times = if sum.is_multiple_of(17) {
            300
        } else {
            sum as usize % 5
        };
        text.repeat(times)
    }

    fn bytes(&self, rng: &mut Xoshiro) -> Vec<u8> {
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nHost: example.com\r\n",
            self.method, self.path
        )
        .into_bytes();
        if self.body.is_empty() {
            bytes.extend_from_slice(b"\r\n");
        } else if self.is_chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let mut rest = &self.body[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + rng.below(rest.len() as u64) as usize);
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
                rest = behind;
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(
                format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes(),
            );
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// Sends bytes in pieces that are cut anywhere.
async fn dribble(raw: &mut Raw<WriteHalf<DuplexStream>>, bytes: &[u8], rng: &mut Xoshiro) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = if rng.below(4) == 0 {
            8
        } else {
            rest.len() as u64
        };
        let (piece, behind) = rest.split_at((1 + rng.below(most) as usize).min(rest.len()));
        raw.send(piece).await;
        if rng.below(3) == 0 {
            tokio::task::yield_now().await;
        }
        rest = behind;
    }
}

/// Answers by the model, in the manner that the path asks for.
async fn serve(mut served: Served, again: Arc<AtomicUsize>) {
    let manner = served.path.rsplit('/').next().unwrap().to_owned();
    if manner == "5"
        && served.method == "GET"
        && again.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
    {
        // It will come again.
        return served.abort();
    }
    let Ok((body, _)) = served.body().await else {
        panic!("{} {} breaks off", served.method, served.path)
    };
    let text = Ask::answer(&served.method, &served.path, &body);
    let length = text.len().to_string();
    if manner == "1" {
        served.inform(103, &[("link", "x")]).await;
    }
    if served.method == "HEAD" {
        served.head_alone(200, &[("content-length", &length)]).await;
        return served.next();
    }
    match &*manner {
        "2" | "3" => {
            served.head(200, &[]).await;
            for piece in text.as_bytes().chunks(if manner == "2" { 7 } else { 1000 }) {
                assert!(served.send(piece).await);
            }
            served.end(&[]).await;
            served.next();
        }
        "4" if served.is_http1() => {
            let fields = [("content-length", &*length), ("connection", "close")];
            served.head(200, &fields).await;
            served.send(text.as_bytes()).await;
        }
        _ => served.answer(200, &text).await,
    }
}

/// Sends up to four requests at once, and reads while it sends.
async fn client_of_http1(raw: Raw, client: usize, requests: usize) {
    let mut rng = Xoshiro::new(SEED + client as u64);
    let mut number = 0;
    let (from, to) = tokio::io::split(raw.io);
    let (mut raw, mut to) = (Raw::new(from), Raw::new(to));
    while number < requests {
        let most = (requests - number) as u64;
        let together = (1 + rng.below(4)).min(most) as usize;
        let asks: Vec<_> = (0..together)
            .map(|n| Ask::random(&mut rng, client, number + n))
            .collect();
        let bytes: Vec<u8> = asks.iter().flat_map(|ask| ask.bytes(&mut rng)).collect();
        let read = async {
            for ask in &asks {
                read_answer(&mut raw, ask).await;
            }
        };
        tokio::join!(dribble(&mut to, &bytes, &mut rng), read);
        number += together;
    }
}

async fn read_answer(raw: &mut Raw<ReadHalf<DuplexStream>>, ask: &Ask) {
    let head = loop {
        let head = raw.head().await;
        if head.status() != 103 {
            break head;
        }
    };
    assert_eq!(head.status(), 200, "{ask:?}");
    let text = Ask::answer(ask.method, &ask.path, &ask.body);
    let (body, _) = raw
        .body(&head, ask.method == "HEAD")
        .await
        .expect("a whole body");
    let expected = if ask.method == "HEAD" { "" } else { &text };
    assert_eq!(
        std::str::from_utf8(&body).unwrap(),
        expected,
        "{}",
        ask.path
    );
    if let Some(length) = head.field("content-length") {
        assert_eq!(length, text.len().to_string());
    }
}

async fn client_of_http2(mut client: Client, id: usize, requests: usize) {
    let mut rng = Xoshiro::new(SEED + id as u64);
    for number in 0..requests {
        let ask = Ask::random(&mut rng, id, number);
        let announced = match ask.body.len() {
            0 => Announced::Nothing,
            _ if ask.is_chunked => Announced::Streamed,
            length => Announced::Length(length),
        };
        let mut call = client.begin(ask.method, &ask.path, &[], announced).await;
        if !ask.body.is_empty() {
            let mut rest = &ask.body[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + rng.below(rest.len() as u64) as usize);
                call.send(piece).await;
                rest = behind;
            }
            call.end().await;
        }
        let (answer, next) = call.answer().await;
        let text = Ask::answer(ask.method, &ask.path, &ask.body);
        assert_eq!((answer.status, answer.is_whole), (200, true), "{ask:?}");
        assert_eq!(
            answer.text(),
            if ask.method == "HEAD" { "" } else { &text },
            "{}",
            ask.path
        );
        client = next;
    }
}

async fn soak(backend: Speaks, pipe: usize, requests: usize) {
    let retry = lb_l7::upstream::RetryPolicy::default().tries(16);
    let budget = lb_l7::upstream::RetryBudgetConfig::default()
        .percent(100)
        .floor_per_second(1_000_000);
    let plan = Plan::to(backend)
        .backends(3)
        .pipe(pipe)
        .retry(retry)
        .budget(budget);
    let mut world = plan.upstream(|it| it.connections(15)).build();
    let told = world.told.clone();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        if client % 2 == 0 {
            let raw = world.raw();
            clients.spawn(async move { client_of_http1(raw, client, requests / CLIENTS).await });
        } else {
            let connection = world.client(Http2).await;
            clients.spawn(client_of_http2(connection, client, requests / CLIENTS));
        }
    }
    let again = Arc::new(AtomicUsize::new(0));
    let served = tokio::spawn(async move {
        let mut serving = tokio::task::JoinSet::new();
        while let Some(call) = world.call_within(secs(600)).await {
            serving.spawn(serve(call, Arc::clone(&again)));
            while let Some(done) = serving.try_join_next() {
                done.unwrap();
            }
        }
        while let Some(done) = serving.join_next().await {
            done.unwrap();
        }
        world
    });
    while let Some(done) = clients.join_next().await {
        if done.is_err() {
            let odd: Vec<_> = told
                .all()
                .into_iter()
                .filter(|ended| ended.how != "done")
                .collect();
            panic!("{odd:#?}");
        }
    }
    let world: World = served.await.unwrap();
    world.checks();
    let all = world.told.all();
    assert_eq!(all.len(), requests);
    assert!(all.iter().all(|ended| ended.code() == ("done", 200)));
    assert!(all.iter().any(|ended| ended.tries > 1));
    assert!(all.iter().filter(|ended| ended.reused).count() > requests / 2);
    world.proxy.sweep(0);
    world.settle().await;
    assert_eq!(
        world.connections(),
        (0, 0),
        "all that was idle for so long is closed"
    );
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_requests_to_http1_are_each_answered_as_they_were_asked() {
    soak(Http1, 600, 20_000).await;
}

#[tokio::test(start_paused = true)]
async fn five_thousand_requests_to_http2_are_each_answered_as_they_were_asked() {
    soak(Http2, 5000, 5000).await;
}
