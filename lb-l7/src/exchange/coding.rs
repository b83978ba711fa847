//! What becomes of the bytes of an answer on their way: nothing, or less of them.

use bytes::Bytes;
use http::{HeaderMap, request, response};

use crate::body::BodyLength;
#[cfg(feature = "compress")]
use crate::compress::{Choice, Compression, EncodeError, Encoder};
use crate::settings::{Settings, Target};

/// What a client asked for, as it asked: before rules and backends have changed the request.
#[cfg(feature = "compress")]
#[derive(Debug)]
pub(super) struct Wish<'a>(Option<(&'a Compression, Option<Choice>)>);

#[cfg(feature = "compress")]
impl<'a> Wish<'a> {
    pub(super) fn of(settings: &'a Settings, target: &'a Target, fields: &mut HeaderMap) -> Self {
        let compression = target.compress.as_ref().or(settings.compress.as_ref());
        Self(compression.map(|compression| (&**compression, compression.choose(fields))))
    }

    /// Decides on the answer, and makes its head true.
    ///
    /// An answer that memory has run short for stays as it is.
    pub(super) fn grant(
        &self,
        settings: &Settings,
        request: &request::Parts,
        response: &mut response::Parts,
        length: &mut BodyLength,
    ) -> Coding {
        let Some((compression, choice)) = self.0 else {
            return Coding::default();
        };
        let offered = compression.offer(choice, request, response, *length);
        let granted = offered.and_then(|codec| {
            let memory = settings.gate.comfort(compression.memory(codec))?;
            Some(Box::new(Coded {
                encoder: compression.encode(codec, response, length),
                _memory: memory,
            }))
        });
        Coding(granted)
    }
}

/// What the bytes of one answer go through; free of cost where that is nothing.
#[cfg(feature = "compress")]
#[derive(Debug, Default)]
pub(super) struct Coding(Option<Box<Coded>>);

#[cfg(feature = "compress")]
#[derive(Debug)]
struct Coded {
    encoder: Encoder,
    _memory: Option<lbcore::budget::Grant>,
}

#[cfg(feature = "compress")]
impl Coding {
    pub(super) fn push(&mut self, data: Bytes) -> Result<Bytes, EncodeError> {
        match &mut self.0 {
            None => Ok(data),
            Some(coded) => coded.encoder.push(&data),
        }
    }

    pub(super) fn pause(&mut self) -> Result<Bytes, EncodeError> {
        match &mut self.0 {
            None => Ok(Bytes::new()),
            Some(coded) => coded.encoder.pause(),
        }
    }

    pub(super) fn finish(&mut self) -> Result<Bytes, EncodeError> {
        match self.0.take() {
            None => Ok(Bytes::new()),
            Some(mut coded) => coded.encoder.finish(),
        }
    }
}

#[cfg(not(feature = "compress"))]
pub(super) use without::{Coding, Wish};

/// Bytes stay as they are.
#[cfg(not(feature = "compress"))]
mod without {
    use std::convert::Infallible;
    use std::marker::PhantomData;

    use super::{BodyLength, Bytes, HeaderMap, Settings, Target, request, response};

    #[derive(Debug)]
    pub(in super::super) struct Wish<'a>(PhantomData<&'a Settings>);

    impl<'a> Wish<'a> {
        pub(in super::super) const fn of(_: &'a Settings, _: &'a Target, _: &HeaderMap) -> Self {
            Self(PhantomData)
        }

        #[expect(clippy::unused_self, reason = "as with compression")]
        pub(in super::super) const fn grant(
            &self,
            _: &Settings,
            _: &request::Parts,
            _: &response::Parts,
            _: &BodyLength,
        ) -> Coding {
            Coding
        }
    }

    #[derive(Debug, Default)]
    pub(in super::super) struct Coding;

    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as with compression"
    )]
    impl Coding {
        pub(in super::super) const fn push(&self, data: Bytes) -> Result<Bytes, Infallible> {
            Ok(data)
        }

        pub(in super::super) const fn pause(&self) -> Result<Bytes, Infallible> {
            Ok(Bytes::new())
        }

        pub(in super::super) const fn finish(&self) -> Result<Bytes, Infallible> {
            Ok(Bytes::new())
        }
    }
}
