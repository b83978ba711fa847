use super::*;

use Party::{Backend, Client, Proxy};

const BEFORE_ANSWER: [Phase; 5] = [
    Phase::RequestHead,
    Phase::Queue,
    Phase::Connect,
    Phase::RequestBody,
    Phase::ResponseHead,
];

fn end(party: Party, phase: Phase, why: Why) -> Termination {
    Termination::new(party, phase, why)
}

fn status(party: Party, phase: Phase, why: Why) -> u16 {
    end(party, phase, why).status().map_or(0, |s| s.as_u16())
}

fn outcome(party: Party, phase: Phase, why: Why, status: u16) -> Outcome {
    end(party, phase, why).outcome(StatusCode::from_u16(status).ok())
}

/// The status of each reason, in each phase before the answer, as the table of `status` has it.
fn expected_status(party: Party, phase: Phase, why: Why) -> u16 {
    match (party, why, phase) {
        (_, Why::Answered | Why::Done, _) => 0,
        (Client | Proxy, Why::Misdirected, _) => 421,
        (Client | Proxy, Why::Unsupported, _) => 501,
        (Client, Why::Malformed, _) => 400,
        (Client, Why::Timeout, Phase::RequestHead | Phase::RequestBody) => 408,
        (Client, Why::TooLarge, Phase::RequestHead) => 431,
        (Client, Why::TooLarge, _) => 413,
        (Client, ..) => 0,
        (Proxy, Why::Denied, _) => 403,
        (Proxy, Why::NoRoute, _) => 404,
        (Proxy, Why::RateLimited, _) => 429,
        (Proxy, Why::Drained | Why::NoBackend | Why::Overloaded | Why::Resources, _) => 503,
        (Proxy, Why::Timeout, Phase::Queue) => 503,
        (Proxy, Why::Timeout, _) => 504,
        (Proxy, ..) => 500,
        (Backend, Why::Timeout, _) => 504,
        (Backend, ..) => 502,
        (Party::Nobody, ..) => 0,
    }
}

#[test]
fn before_the_answer_each_end_has_the_status_of_the_table() {
    for &party in Party::ALL {
        for phase in BEFORE_ANSWER {
            for &why in Why::ALL {
                let want = expected_status(party, phase, why);
                assert_eq!(status(party, phase, why), want, "{party} {why} {phase}");
            }
        }
    }
}

#[test]
fn once_the_answer_has_begun_there_is_no_status_to_send() {
    for &phase in Phase::ALL {
        assert_eq!(phase.awaits_answer(), BEFORE_ANSWER.contains(&phase));
        if phase.awaits_answer() {
            continue;
        }
        for &party in Party::ALL {
            for &why in Why::ALL {
                assert_eq!(status(party, phase, why), 0);
                assert_eq!(end(party, phase, why).logged_status(), None);
            }
        }
    }
}

#[test]
fn a_client_that_leaves_before_its_answer_is_logged_as_499() {
    for phase in BEFORE_ANSWER {
        for why in [Why::Closed, Why::Reset] {
            let logged = end(Client, phase, why).logged_status().unwrap();
            assert_eq!(logged.as_u16(), 499);
            assert_eq!(status(Client, phase, why), 0);
            let backend = end(Backend, phase, why).logged_status().unwrap();
            assert_eq!(backend.as_u16(), 502);
        }
    }
    let slow = end(Client, Phase::RequestHead, Why::Timeout);
    assert_eq!(slow.logged_status(), Some(StatusCode::REQUEST_TIMEOUT));
}

#[test]
fn normal_are_full_answers_closed_tunnels_and_idle_connections() {
    for &party in &[Client, Backend, Proxy] {
        for &phase in Phase::ALL {
            for &why in Why::ALL {
                let want = match (phase, why) {
                    (_, Why::Answered | Why::Done) | (Phase::Tunnel, Why::Closed) => true,
                    (Phase::KeepAlive, why) => {
                        [Why::Closed, Why::Drained, Why::Reset, Why::Timeout].contains(&why)
                    }
                    _ => false,
                };
                assert_eq!(
                    end(party, phase, why).is_normal(),
                    want,
                    "{party} {why} {phase}"
                );
            }
        }
    }
}

#[test]
fn a_full_answer_is_charged_by_its_status() {
    for (code, want) in [
        (100, Outcome::Ok),
        (200, Outcome::Ok),
        (399, Outcome::Ok),
        (400, Outcome::ClientError),
        (429, Outcome::ClientError),
        (499, Outcome::ClientError),
        (500, Outcome::ServerError),
        (502, Outcome::ServerError),
        (503, Outcome::Overloaded { retry_after: None }),
        (504, Outcome::ServerError),
        (599, Outcome::ServerError),
    ] {
        let status = StatusCode::from_u16(code).ok();
        assert_eq!(Termination::DONE.outcome(status), want, "{code}");
        // An early answer is a full one; and who reads slowly does not make it another.
        assert_eq!(
            outcome(Backend, Phase::RequestBody, Why::Answered, code),
            want
        );
        assert_eq!(
            outcome(Client, Phase::ResponseBody, Why::Timeout, code),
            want
        );
    }
    assert_eq!(Termination::DONE.outcome(None), Outcome::Ok);
}

#[test]
fn what_the_backend_does_is_charged_to_it() {
    let overloaded = Outcome::Overloaded { retry_after: None };
    for &phase in Phase::ALL {
        for (why, elsewhere) in [
            (Why::ConnectFailed, Outcome::ConnectFailed),
            (Why::TlsFailed, Outcome::ConnectFailed),
            (Why::Closed, Outcome::Reset),
            (Why::Reset, Outcome::Reset),
            (Why::Timeout, Outcome::Timeout),
            (Why::Refused, overloaded),
            (Why::Overloaded, overloaded),
            (Why::Malformed, Outcome::ServerError),
            (Why::TooLarge, Outcome::ServerError),
            (Why::FloodDetected, Outcome::ServerError),
        ] {
            let want = match (phase, why) {
                (Phase::Connect, _) => Outcome::ConnectFailed,
                (Phase::Tunnel, Why::Closed | Why::Timeout) => Outcome::Ok,
                _ => elsewhere,
            };
            assert_eq!(outcome(Backend, phase, why, 200), want, "{why} {phase}");
        }
    }
}

#[test]
fn what_the_client_does_is_not_charged_to_the_backend() {
    for &phase in Phase::ALL {
        for &why in Why::ALL.iter().filter(|&&why| why != Why::Done) {
            let want = match (phase, why) {
                (Phase::Tunnel, Why::Closed | Why::Timeout) => Outcome::Ok,
                (Phase::ResponseBody, Why::Timeout) => Outcome::ServerError,
                _ => Outcome::Cancelled,
            };
            assert_eq!(outcome(Client, phase, why, 500), want, "{why} {phase}");
        }
    }
}

#[test]
fn of_what_the_proxy_does_only_its_patience_is_charged_to_the_backend() {
    for &phase in Phase::ALL {
        for &why in Why::ALL.iter().filter(|&&why| why != Why::Done) {
            let want = match (phase, why) {
                (Phase::ResponseHead, Why::Timeout) => Outcome::Timeout,
                (Phase::Tunnel, Why::Drained | Why::Timeout) => Outcome::Ok,
                _ => Outcome::Cancelled,
            };
            assert_eq!(outcome(Proxy, phase, why, 500), want, "{why} {phase}");
        }
    }
}
