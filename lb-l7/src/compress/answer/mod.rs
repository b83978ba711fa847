//! Which answers are compressed, and what their heads say then.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, request, response};

use super::{Choice, Codec, Compression, Encoder, choose};
use crate::body::BodyLength;

impl Compression {
    /// What the client of these fields of a request would get; and hides from the backend what it
    /// shall not see of that.
    pub(crate) fn choose(&self, fields: &mut HeaderMap) -> Option<Choice> {
        let choice = choose(fields, &self.codecs);
        if self.offload && !self.codecs.is_empty() {
            fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        choice
    }

    /// Which codec an answer gets, if any; the head says at least that it might have got one.
    ///
    /// A cache in between must know that clients of other wishes get other bytes, whichever of them
    /// asked first (RFC 9110, 12.5.5).
    pub(crate) fn offer(
        &self,
        choice: Option<Choice>,
        request: &request::Parts,
        response: &mut response::Parts,
        length: BodyLength,
    ) -> Option<Codec> {
        let is_needed = choice.is_some_and(|choice| choice.is_needed);
        let has_body =
            request.method != Method::HEAD && response.status != StatusCode::NOT_MODIFIED;
        if self.codecs.is_empty()
            || !is_open(response)
            || !self.has_type(&response.headers)
            || (has_body && !self.is_long_enough(length, is_needed))
        {
            return None;
        }
        add_vary(&mut response.headers);
        if !has_body || request.version < Version::HTTP_11 {
            return None;
        }
        choice.map(|choice| choice.codec)
    }

    /// Makes the head that of an answer in `codec`, and what makes its body that.
    pub(crate) fn encode(
        &self,
        codec: Codec,
        response: &mut response::Parts,
        length: &mut BodyLength,
    ) -> Encoder {
        let fields = &mut response.headers;
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static(codec.as_str()));
        fields.remove(CONTENT_LENGTH);
        fields.remove(ACCEPT_RANGES);
        weaken(fields);
        // The end of a body whose length is known is in sight: it is worth to wait for.
        let is_stream = length.exact().is_none();
        *length = BodyLength::Streamed;
        Encoder::new(codec, self.level_of(codec)).flush_on_pause(is_stream)
    }

    fn has_type(&self, fields: &HeaderMap) -> bool {
        let value = fields.get(CONTENT_TYPE);
        value.is_some_and(|value| self.types.contains(value.as_bytes()))
    }

    fn is_long_enough(&self, length: BodyLength, is_needed: bool) -> bool {
        let least = if is_needed { 1 } else { self.min_length.max(1) };
        length.exact().is_none_or(|bytes| bytes >= least)
    }
}

/// Whether nothing speaks against another coding.
fn is_open(response: &response::Parts) -> bool {
    let status = response.status;
    let is_part = matches!(
        status,
        StatusCode::NO_CONTENT
            | StatusCode::RESET_CONTENT
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::RANGE_NOT_SATISFIABLE
    );
    let fields = &response.headers;
    !status.is_informational()
        && !is_part
        && !BOUND.iter().any(|name| fields.contains_key(name))
        && !is_fixed(fields)
}

/// What speaks of the very bytes: a coding, a part of them, or their digest (RFC 9530, 2 and 3, and
/// its forerunners), which may be signed.
const BOUND: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_RANGE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether a `Cache-Control` forbids to change the bytes (RFC 9111, 5.2.2.6).
fn is_fixed(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(CACHE_CONTROL).iter();
    lines.any(|line| {
        let mut directives = line.as_bytes().split(|&byte| byte == b',');
        directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    })
}

fn add_vary(fields: &mut HeaderMap) {
    let is_told = fields.get_all(VARY).iter().any(|line| {
        let mut names = line.as_bytes().split(|&byte| byte == b',');
        names.any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")
        })
    });
    if !is_told {
        fields.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Makes a strong `ETag` a weak one: the same thing, in other bytes (RFC 9110, 8.8.3.3).
fn weaken(fields: &mut HeaderMap) {
    let Some(tag) = fields.get(ETAG) else { return };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => fields.insert(ETAG, weak),
        Err(_) => fields.remove(ETAG),
    };
}

#[cfg(test)]
mod tests;
