use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::report::tests::{address, report};
use crate::report::{Party, Phase, Termination, Why};

#[test]
fn an_exchange_is_counted_in_all_its_figures() {
    let writers = Writers::new(2);
    let stats = ExchangeStats::new(&writers);
    let address = address();
    let mut report = report(&address);
    for tries in 1..=3 {
        // Each worker counts; the reading is the sum.
        let mut writer = writers.take().unwrap();
        let mut other = writers.take().unwrap();
        report.backend.as_mut().unwrap().tries = tries;
        stats.began(&mut writer);
        stats.record(&mut other, &report);
    }
    let figures = stats.read();
    assert_eq!((figures.began, figures.recorded()), (3, 3));
    assert_eq!(figures.class(StatusClass::Success), 3);
    assert_eq!((figures.bytes_in, figures.bytes_out), (3 * 123, 3 * 212));
    assert_eq!((figures.retries, figures.reused, figures.hedged), (3, 3, 0));
    assert_eq!(figures.errors, 0);
    assert_eq!((figures.first_byte.count(), figures.total.count()), (3, 3));
    assert_eq!(figures.first_byte.sum(), Duration::from_millis(3 * 28));
    assert_eq!(figures.total.sum(), Duration::from_millis(3 * 62));
}

#[test]
fn an_exchange_without_a_backend_or_an_answer_has_no_figures_of_them() {
    let writers = Writers::new(1);
    let stats = ExchangeStats::new(&writers);
    let mut writer = writers.take().unwrap();
    let address = address();
    let mut report = report(&address);
    report.backend = None;
    report.times.response = None;
    report.status = None;
    report.termination = Termination::new(Party::Client, Phase::Queue, Why::Closed);
    stats.record(&mut writer, &report);
    let figures = stats.read();
    assert_eq!(figures.class(StatusClass::ClientError), 1);
    assert_eq!(figures.errors, 1);
    assert_eq!((figures.retries, figures.reused, figures.hedged), (0, 0, 0));
    assert_eq!((figures.first_byte.count(), figures.total.count()), (0, 1));
}

#[test]
fn a_hedge_that_answers_is_counted() {
    let writers = Writers::new(1);
    let stats = ExchangeStats::new(&writers);
    let address = address();
    let mut report = report(&address);
    let backend = report.backend.as_mut().unwrap();
    (backend.hedged, backend.reused, backend.tries) = (true, false, 0);
    backend.hedges = 2;
    stats.record(&mut writers.take().unwrap(), &report);
    let figures = stats.read();
    assert_eq!((figures.retries, figures.reused, figures.hedged), (0, 0, 1));
    assert_eq!(figures.hedges, 2);
}

#[test]
fn each_status_has_its_class() {
    let address = address();
    let mut report = report(&address);
    for (status, class) in [
        (100, StatusClass::Informational),
        (199, StatusClass::Informational),
        (200, StatusClass::Success),
        (304, StatusClass::Redirection),
        (499, StatusClass::ClientError),
        (500, StatusClass::ServerError),
        (599, StatusClass::ServerError),
        (600, StatusClass::None),
        (999, StatusClass::None),
    ] {
        report.status = StatusCode::from_u16(status).ok();
        assert_eq!(StatusClass::of(&report), class, "{status}");
    }
    report.status = None;
    assert_eq!(StatusClass::of(&report), StatusClass::None);
}

#[test]
fn what_began_is_under_way_until_it_is_recorded_or_has_left() {
    let writers = Writers::new(1);
    let stats = ExchangeStats::new(&writers);
    let mut writer = writers.take().unwrap();
    let address = address();
    (0..3).for_each(|_| stats.began(&mut writer));
    assert_eq!(stats.read().in_flight(), 3);
    stats.left(&mut writer);
    assert_eq!(stats.read().in_flight(), 2);
    stats.record(&mut writer, &report(&address));
    assert_eq!(stats.read().in_flight(), 1);
    assert!(format!("{stats:?}").contains("began: 3, left: 1"));
}

#[test]
fn readings_add_up() {
    let writers = Writers::new(1);
    let stats = ExchangeStats::new(&writers);
    let mut writer = writers.take().unwrap();
    let address = address();
    let mut report = report(&address);
    report.status = Some(StatusCode::BAD_GATEWAY);
    let backend = report.backend.as_mut().unwrap();
    (backend.hedged, backend.hedges, backend.tries) = (true, 1, 2);
    for _ in 0..2 {
        stats.began(&mut writer);
        stats.left(&mut writer);
    }
    stats.record(&mut writer, &report);
    let once = stats.read();
    let mut twice = once.clone();
    twice += &once;
    assert_eq!((twice.began, twice.left), (4, 4));
    assert_eq!((twice.bytes_in, twice.bytes_out), (246, 424));
    assert_eq!((twice.errors, twice.retries), (2, 2));
    assert_eq!((twice.reused, twice.hedged, twice.hedges), (2, 2, 2));
    assert_eq!((twice.first_byte.count(), twice.total.count()), (2, 2));
    assert_eq!(twice.class(StatusClass::ServerError), 2);
}

#[test]
fn a_share_is_as_large_as_documented() {
    assert_eq!(size_of::<Share>().next_multiple_of(128), 4_224);
}
