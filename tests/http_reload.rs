//! The file and the certificates are replaced again and again under load, and no request fails.

use std::net::SocketAddr;
use std::time::Duration;

use harness::clb::Clb;
use harness::h2load::{Report, Version, h2load};
use harness::host::{TempDir, free_address};
use harness::keys::{CERT, Keys};
use harness::load::{Requests, wrk_at};
use harness::origin::Origin;
use harness::peer::run;
use harness::procfs::Protocol;
use harness::wait::{self, PATIENCE};

/// How often the file is read again, and how long the load lasts, which must be longer.
const TIMES: u32 = 50;
const SPAN: Duration = Duration::from_secs(20);

/// Between two: time for some requests, on old connections and on new ones.
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn fifty_reloads_and_certificates_fail_no_request_of_any_version() {
    let origins = [Origin::start(), Origin::start()];
    let front = free_address();
    let clb = Clb::with_keys(&Keys::p256("a.test"), 2, &web(&origins, front, 0));
    let clb = clb.serves(Protocol::Tcp, front);
    let url = format!("https://{front}/");
    let kept = wrk_at(&url, 8, SPAN).start();
    // Each of its connections has one request, so that new ones are made all the time.
    let fresh = wrk_at(&url, 4, SPAN).args(["--header", "Connection: close"]);
    let fresh = fresh.start();
    let streams = h2load(&url, 4, Version::H2(8), SPAN).start();

    let began = wait::now();
    for times in 1..=TIMES {
        Keys::p256("a.test").replace(clb.process().dir());
        clb.reload(&web(&origins, front, times), times);
        wait::pause(PAUSE);
    }
    let took = wait::now() - began;
    assert!(
        took < SPAN,
        "the load was over before the {TIMES} reloads: {took:?}"
    );

    for load in [kept, fresh] {
        let report = Requests::of(load, SPAN);
        assert_eq!((report.failed, report.refused), (0, 0), "{report:?}");
        assert!(report.answered > 100, "{report:?}");
    }
    let report = Report::of(streams, SPAN);
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.succeeded > 100, "{report:?}");
}

#[test]
fn a_new_certificate_is_served_after_a_reload_and_a_bad_one_is_not() {
    let origins = [Origin::start(), Origin::start()];
    let front = free_address();
    let (old, new) = (Keys::p256("a.test"), Keys::p256("a.test"));
    let clb = Clb::with_keys(&old, 2, &web(&origins, front, 0)).serves(Protocol::Tcp, front);
    assert_eq!(answer_by(front, &old), "hello");

    new.replace(clb.process().dir());
    clb.reload(&web(&origins, front, 0), 1);
    assert_eq!(answer_by(front, &new), "hello");

    clb.process().dir().write(CERT, "no certificate");
    clb.process().signal(rustix::process::Signal::HUP);
    let labels = [("result", "refused")];
    clb.await_figure("clb_config_reloads_total", &labels, 1.0);
    assert_eq!(answer_by(front, &new), "hello");
}

/// What a client says that believes this certificate and no other.
#[track_caller]
fn answer_by(front: SocketAddr, keys: &Keys) -> String {
    let dir = TempDir::new("trust");
    dir.write(CERT, &keys.cert);
    let trusted = dir.path().join(CERT).to_string_lossy().into_owned();
    let url = format!("https://{front}/");
    let words = ["--silent", "--show-error", "--cacert"];
    let words = words.into_iter().chain([trusted.as_str(), &url]);
    run("curl", words, PATIENCE)
}

/// A file that differs from step to step: in weights and in limits.
fn web(origins: &[Origin; 2], front: SocketAddr, step: u32) -> String {
    let [a, b] = [&origins[0], &origins[1]].map(Origin::address);
    let (weight, limit) = (1 + step % 3, 1_000 + step);
    let keys = Keys::line();
    format!(
        "[[pool]]\nname = \"web\"\nscheduler = \"weighted-round-robin\"\n\
         backends = [{{ name = \"a\", address = \"{a}\", weight = {weight} }}, \
         {{ name = \"b\", address = \"{b}\" }}]\n\
         [[listener]]\nname = \"front\"\nprotocol = \"https\"\nlisten = \"{front}\"\n\
         pool = \"web\"\nlimits = {{ connections = {limit} }}\n{keys}"
    )
}
