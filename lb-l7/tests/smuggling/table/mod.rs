//! What clients send to smuggle, and what becomes of it.
//!
//! A row is all that one client sends on one connection. It is taken from what is publicly known of
//! desync attacks (CL.TE, TE.CL, TE.TE, CL.0, 0.CL, chunk-level and line-level ones), told in our
//! own words; beside every refused form stands the nearest one that is fine.

mod chunks;
mod fields;
mod framing;
mod lines;
mod pipelines;
mod targets;

use lb_l7::h1::Rejection;

/// One connection's worth of bytes, and the verdict over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// What is tried; unique.
    pub(crate) name: &'static str,
    /// What the client sends.
    pub(crate) bytes: &'static [u8],
    /// The requests that a backend may see, in this order and in whole.
    pub(crate) seen: &'static [Seen],
    /// What ends it.
    pub(crate) end: End,
}

/// A request as a backend is to see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) method: &'static str,
    pub(crate) target: &'static str,
    pub(crate) host: &'static str,
    pub(crate) body: &'static str,
}

/// What is behind the requests that were seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Nothing: all bytes were used.
    Clean,
    /// Bytes behind a request that was to be the last: they are not looked at.
    Closed,
    /// A head that is refused: no byte of it goes anywhere.
    Head(Rejection),
    /// A body that is refused: its request may have been begun, and is never ended.
    Body(Rejection),
    /// A head that is not whole.
    HeadUnfinished,
    /// A body that is not whole.
    BodyUnfinished,
}

/// Every row.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    [
        lines::ROWS,
        fields::ROWS,
        framing::ROWS,
        chunks::ROWS,
        targets::ROWS,
        pipelines::ROWS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

const fn accept(name: &'static str, bytes: &'static str, seen: &'static [Seen]) -> Row {
    ends(name, bytes, seen, End::Clean)
}

const fn refuse(name: &'static str, bytes: &'static str, reason: Rejection) -> Row {
    ends(name, bytes, &[], End::Head(reason))
}

const fn refuse_bytes(name: &'static str, bytes: &'static [u8], reason: Rejection) -> Row {
    Row {
        name,
        bytes,
        seen: &[],
        end: End::Head(reason),
    }
}

const fn refuse_body(name: &'static str, bytes: &'static str, reason: Rejection) -> Row {
    ends(name, bytes, &[], End::Body(reason))
}

const fn ends(name: &'static str, bytes: &'static str, seen: &'static [Seen], end: End) -> Row {
    Row {
        name,
        bytes: bytes.as_bytes(),
        seen,
        end,
    }
}

/// `GET /` of the host `a`.
const GET: Seen = get("/");

const fn get(target: &'static str) -> Seen {
    Seen {
        method: "GET",
        target,
        host: "a",
        body: "",
    }
}

/// `POST /` to the host `a`.
const fn post(body: &'static str) -> Seen {
    Seen {
        method: "POST",
        target: "/",
        host: "a",
        body,
    }
}
