//! What it costs to count and to log an exchange.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{StatusCode, Version};
use lb_l7::access_log::{AccessLog, Config, Format, Target};
use lb_l7::report::{BackendSide, ClientSide, Report, RequestLine, Times};
use lb_l7::stats::{ExchangeStats, Histogram, ListenerStats, UpstreamStats, Writers};
use lbcore::backend::Address;
use lbcore::{BackendId, Instant};

/// An exchange of a browser, with what browsers send.
fn report(address: &Address) -> Report<'_> {
    let from = std::net::SocketAddr::from(([203, 0, 113, 9], 51_234));
    let client = ClientSide::new(from, "web", Version::HTTP_11);
    let mut request =
        RequestLine::new("GET", b"www.example.com", b"/static/app/main.js?v=20261123");
    request.id = Some(b"4bf92f3577b34da6a3ce929d0e0e4736");
    request.referer = Some(b"https://www.example.com/");
    request.user_agent =
        Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0");
    let mut report = Report::new(client, request);
    (report.route, report.upstream) = (Some("static"), Some("app"));
    let mut backend = BackendSide::new(BackendId::new(1), address);
    backend.name = Some("app-1");
    backend.version = Some(Version::HTTP_11);
    report.backend = Some(backend);
    report.status = Some(StatusCode::OK);
    report.traffic.body_out = 12_345;
    report
}

/// Moments that differ from call to call, as those of exchanges do, and that are not in the future.
fn times(n: u64) -> Times {
    let at = |us: u64| Instant::from_nanos(n * 10 + us * 1_000);
    let wait = 100 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52);
    Times {
        accepted: at(0),
        first_byte: Some(at(1)),
        head: Some(at(2)),
        picked: Some(at(3)),
        connected: Some(at(4)),
        response: Some(at(wait)),
        end: at(wait + 20),
    }
}

fn record(c: &mut Criterion) {
    let address = Address::from(std::net::SocketAddr::from(([10, 0, 0, 11], 8_080)));
    let writers = Writers::new(2);
    let Some(mut writer) = writers.take() else {
        return;
    };
    let listener = ListenerStats::new(&writers);
    let route = ExchangeStats::new(&writers);
    let backend = UpstreamStats::new(&writers).backend(BackendId::new(1));
    let mut report = report(&address);
    let mut n = 0_u64;
    let mut next = |report: &mut Report<'_>| {
        n += 1;
        report.times = times(n);
    };

    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    group.bench_function("nothing", |b| b.iter(|| next(black_box(&mut report))));
    group.bench_function("counters", |b| {
        b.iter(|| {
            next(&mut report);
            let report = black_box(&report);
            route.began(&mut writer);
            backend.began(&mut writer);
            listener.record(&mut writer, report);
            route.record(&mut writer, report);
            backend.record(&mut writer, report);
        });
    });
    for (name, format) in [("combined", Format::Combined), ("json", Format::Json)] {
        let mut config = Config::default();
        config.format = format;
        let Ok(log) = AccessLog::open(Target::Writer(Box::new(io::sink())), &config) else {
            return;
        };
        let mut worker = log.worker();
        group.bench_function(name, |b| {
            b.iter(|| {
                next(&mut report);
                worker.record(black_box(&report));
            });
        });
    }
    group.finish();
}

fn histogram(c: &mut Criterion) {
    let histogram = Histogram::default();
    let mut n = 1_u64;
    c.bench_function("histogram", |b| {
        b.iter(|| {
            n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            histogram.record(black_box(Duration::from_nanos(n >> 36)));
        });
    });
}

criterion_group!(benches, record, histogram);
criterion_main!(benches);
