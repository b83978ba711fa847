//! A ring of points, placed as nginx places them.

use std::sync::Arc;

use super::crc32::Crc32;
use super::placement::Placement;
use super::shelf::Shelf;
use crate::backend::Address;
use crate::schedule::{Candidate, Tier};

/// Places keys on a ring: each backend has points there, and owns the keys up to each of them.
///
/// The placement is that of nginx's `hash … consistent`, so that nginx and this crate can stand side
/// by side before the same caches: 160 points a unit of weight, made by CRC-32 from the address as
/// it is written in the configuration. For the same result a session's key must be
/// [`Ketama::key`] of the very text that nginx hashes, which
/// [`KeyParts::SourceText`](crate::schedule::KeyParts::SourceText) makes for `$remote_addr`; of any other key
/// the low 32 bits count.
///
/// When a backend leaves or comes, only its own keys move. Shares are uneven: with weight 1 each, one
/// backend may have a third more keys than another, which [`Maglev`](super::Maglev) or a
/// [`BoundedLoad`](super::BoundedLoad) avoids. CRC-32 keeps no secret: clients that choose keys can
/// aim them all at one backend, which `BoundedLoad` bounds.
///
/// The table is built of addresses and weights alone: see [`Placement`]. A session whose backend may
/// not take it goes to that of the next point, as in nginx.
///
/// Beyond [`most_points`](Self::most_points) points, weights are scaled down, and the placement is no
/// longer nginx's. Two backends that meet in one point give it to the lower identity; nginx gives it
/// to the one that its configuration names first.
///
/// Cost: a pick is O(1) on average and O(log n) at worst; a point takes 10 to 12 bytes, so
/// 2 KiB a unit of weight, and about 100 ns to build. Clones share the rings of tiers
/// that are the same.
///
/// Exact across workers: they read the same ring.
///
/// Source: nginx 1.22, `ngx_http_upstream_hash_module`, which follows Cache::Memcached::Fast; the
/// idea is Karger et al., "Consistent Hashing and Random Trees" (1997).
///
/// # Examples
///
/// ```
/// use lbcore::schedule::Ketama;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(Ketama::default())
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?).weight(2));
/// // hash $request_uri consistent;
/// let key = Ketama::key(b"/pictures/7.png");
/// let lease = pool.balancer(0).acquire(Instant::ZERO, &Pick::keyed(key)).unwrap();
/// # drop(lease);
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "ring hash")]
#[doc(alias = "consistent hashing")]
pub struct Ketama {
    most_points: u32,
    shelf: Shelf<KetamaRing>,
}

impl Default for Ketama {
    fn default() -> Self {
        Self {
            most_points: Self::MOST_POINTS,
            shelf: Shelf::default(),
        }
    }
}

impl Ketama {
    /// Points that a backend has for each unit of its weight: nginx's number.
    pub const POINTS: u32 = 160;

    /// How many points a ring has at most by default: 2^22, which is 26,214 backends of weight 1.
    pub const MOST_POINTS: u32 = 1 << 22;

    /// The key of these bytes: what nginx would hash, such as the value of `$request_uri`.
    ///
    /// Not keyed by a secret: see [`Ketama`].
    #[must_use]
    pub fn key(bytes: &[u8]) -> u64 {
        u64::from(Crc32::new().update(bytes).finish())
    }

    /// Sets about how many points a ring has at most; each backend with a weight keeps at least one.
    ///
    /// Default [`Ketama::MOST_POINTS`], at most 48 MiB.
    #[must_use]
    pub fn most_points(self, most: u32) -> Self {
        Self {
            most_points: most,
            shelf: Shelf::default(),
        }
    }

    fn build(&self, tier: &Tier) -> KetamaRing {
        let weight = |at: &Candidate| u64::from(at.backend.weight.0);
        let wanted: u64 =
            tier.candidates().iter().map(weight).sum::<u64>() * u64::from(Self::POINTS);
        let most = u64::from(self.most_points);
        let mut points = Vec::new();
        for (candidate, position) in tier.candidates().iter().zip(0_u32..) {
            let own = weight(candidate) * u64::from(Self::POINTS);
            let count = match own {
                0 => 0,
                own if wanted <= most => own,
                own => (own * most / wanted).max(1),
            };
            let count = usize::try_from(count).unwrap_or(0);
            let hashes = Chain::new(&candidate.backend.address).take(count);
            points.extend(hashes.map(|hash| u64::from(hash) << 32 | u64::from(position)));
        }
        // By hash and then by position, which is the order of identities.
        points.sort_unstable();
        points.dedup_by_key(|point| *point >> 32);
        KetamaRing::new(points)
    }
}

/// The hashes of one backend's points: each is made from the one before.
struct Chain {
    base: Crc32,
    previous: u32,
}

impl Chain {
    /// nginx hashes host and port of the text that names the server, with a zero between them.
    fn new(address: &Address) -> Self {
        let text = address.to_string();
        let (host, port) = match text.strip_prefix("unix:") {
            Some(path) => (path, ""),
            None => host_and_port(&text),
        };
        let base = Crc32::new()
            .update(host.as_bytes())
            .update(&[0])
            .update(port.as_bytes());
        Self { base, previous: 0 }
    }
}

/// A port is what stands behind the last colon, if it is a number.
fn host_and_port(text: &str) -> (&str, &str) {
    match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (text, ""),
    }
}

impl Iterator for Chain {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let hash = self.base.update(&self.previous.to_le_bytes()).finish();
        self.previous = hash;
        Some(hash)
    }
}

/// The points of a tier, in the order of their hashes.
#[derive(Debug)]
pub struct KetamaRing {
    /// The hash in the high half, the owner's position in the low half: together, so that both cost
    /// one wait for memory.
    points: Box<[u64]>,
    /// Before which point each part of the circle begins; the parts are equal.
    parts: Box<[u32]>,
    /// How far a hash is shifted to give its part.
    shift: u32,
}

impl KetamaRing {
    fn new(points: Vec<u64>) -> Self {
        // One to two points a part, and no more than 2^31 parts.
        let bits = points.len().clamp(2, 1 << 31).ilog2();
        let shift = u32::BITS - bits;
        let begins = |part: u32| {
            let first = points.partition_point(|&point| high(point) >> shift < part);
            u32::try_from(first).unwrap_or(u32::MAX)
        };
        let parts = (0..=1 << bits).map(begins).collect();
        Self {
            points: points.into(),
            parts,
            shift,
        }
    }

    /// How many points it has.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points.len()
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.points) + size_of_val(&*self.parts)
    }

    /// The first point at `hash` or beyond.
    #[inline]
    fn find(&self, hash: u32) -> usize {
        let part = (hash >> self.shift) as usize;
        let bound = |part: usize| self.parts.get(part).map_or(0, |&first| first as usize);
        let (first, last) = (bound(part), bound(part + 1));
        let inside = self.points.get(first..last).unwrap_or_default();
        first
            + inside
                .iter()
                .take_while(|&&point| high(point) < hash)
                .count()
    }
}

impl Placement for Ketama {
    type Table = Arc<KetamaRing>;

    fn table(&self, tier: &Tier, _previous: Option<&Self::Table>) -> Self::Table {
        // The shelf holds whatever is in use, so also the previous ring.
        self.shelf.table(tier, || self.build(tier))
    }

    #[inline]
    fn owners(&self, ring: &Self::Table, key: u64) -> impl Iterator<Item = usize> {
        let points = ring.points();
        let mut next = ring.find(low(key));
        std::iter::from_fn(move || {
            if next >= points {
                next = 0;
            }
            let owner = ring.points.get(next).map(|&point| low(point) as usize);
            next += 1;
            owner
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    low(word >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, BackendId};

    /// Backends by address and weight, whose positions are in this order.
    fn tier(backends: &[(&str, u16)]) -> Tier {
        Tier::of(backends.iter().zip(1..).map(|(&(address, weight), id)| {
            Backend::new(address, address.parse().unwrap())
                .id(BackendId::new(id))
                .weight(weight)
        }))
    }

    fn ring(backends: &[(&str, u16)]) -> Arc<KetamaRing> {
        Ketama::default().table(&tier(backends), None)
    }

    /// Whose the point at `at` is.
    fn owner(ring: &KetamaRing, at: usize) -> Option<usize> {
        ring.points.get(at).map(|&point| low(point) as usize)
    }

    fn first(ring: &Arc<KetamaRing>, key: u64) -> Option<usize> {
        Ketama::default().owners(ring, key).next()
    }

    /// Which backend nginx 1.22.1 chose for each key; `tests/ketama_nginx.rs` asks a live one.
    const NGINX: &[u8] = b"1122221011222222102210222221122201011221022221212202222110120112111200222122111112222222222111222220122122122222222222212122221222222201021112012112220022021221";

    #[test]
    fn keys_go_where_nginx_put_them() {
        let ring = ring(&[
            ("127.0.81.1:18101", 1),
            ("127.0.81.2:18102", 2),
            ("127.0.81.3:18103", 5),
        ]);
        assert_eq!(ring.points(), 8 * 160);
        for (number, digit) in NGINX.iter().enumerate() {
            let key = format!("/a/{number:x}/{}", "z".repeat(number % 40));
            let expected = usize::from(digit - b'0');
            assert_eq!(
                first(&ring, Ketama::key(key.as_bytes())),
                Some(expected),
                "{key}"
            );
        }
    }

    #[test]
    fn host_and_port_are_parted_where_nginx_parts_them() {
        assert_eq!(host_and_port("10.0.0.1:80"), ("10.0.0.1", "80"));
        assert_eq!(host_and_port("[2001:db8::1]:80"), ("[2001:db8::1]", "80"));
        assert_eq!(host_and_port("memory:cache"), ("memory:cache", ""));
        assert_eq!(host_and_port("cache"), ("cache", ""));
        // nginx leaves `unix:` away.
        let unix = Chain::new(&"unix:/run/a.sock".parse().unwrap()).next();
        let expected = Crc32::new()
            .update(b"/run/a.sock\0")
            .update(&[0; 4])
            .finish();
        assert_eq!(unix, Some(expected));
    }

    #[test]
    fn a_hash_is_found_as_by_a_search_of_the_whole_ring() {
        for backends in [1, 2, 3, 40] {
            let address = |n| format!("10.0.0.{n}:80");
            let addresses: Vec<String> = (0..backends).map(address).collect();
            let weights: Vec<(&str, u16)> = addresses.iter().map(|it| (it.as_str(), 3)).collect();
            let ring = ring(&weights);
            let hashes: Vec<u32> = ring.points.iter().map(|&point| high(point)).collect();
            assert!(hashes.is_sorted_by(|a, b| a < b));
            let near = hashes
                .iter()
                .flat_map(|&hash| [hash.wrapping_sub(1), hash, hash.wrapping_add(1)]);
            for hash in near.chain([0, u32::MAX]) {
                assert_eq!(
                    ring.find(hash),
                    hashes.partition_point(|&point| point < hash)
                );
            }
        }
    }

    #[test]
    fn beyond_the_last_point_comes_the_first() {
        let ring = ring(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)]);
        let owners = |key| -> Vec<Option<usize>> {
            let all = Ketama::default();
            all.owners(&ring, key).take(400).map(Some).collect()
        };
        let from = |first: usize| -> Vec<Option<usize>> {
            let around = (first..first + 400).map(|at| at % ring.points());
            around.map(|at| owner(&ring, at)).collect()
        };
        let last = u64::from(high(ring.points[ring.points() - 1]));
        assert_eq!(owners(last + 1), from(0));
        assert_eq!(owners(last), from(ring.points() - 1));
        assert_eq!(owners(u64::from(high(ring.points[3]))), from(3));
        // Only the low half of a key counts.
        assert_eq!(owners(1 << 40 | u64::from(high(ring.points[3]))), from(3));
    }

    #[test]
    fn a_ring_without_weights_has_no_owners() {
        assert_eq!(first(&ring(&[]), 7), None);
        let none = ring(&[("10.0.0.1:80", 0)]);
        assert_eq!((first(&none, 7), none.points()), (None, 0));
    }

    #[test]
    fn two_backends_of_one_address_meet_in_every_point_and_the_lower_has_them() {
        let ring = ring(&[("10.0.0.1:80", 1), ("10.0.0.1:80", 1)]);
        assert_eq!(ring.points(), 160);
        assert!((0..160).all(|at| owner(&ring, at) == Some(0)));
    }

    #[test]
    fn a_ring_has_about_the_points_it_may_have_and_one_for_each_weight() {
        let heavy = tier(&[
            ("10.0.0.1:80", 65_535),
            ("10.0.0.2:80", 1),
            ("10.0.0.3:80", 0),
        ]);
        let ring = Ketama::default().most_points(1_000).build(&heavy);
        assert_eq!(ring.points(), 1_000);
        assert_eq!(
            (0..1_000).filter(|&at| owner(&ring, at) == Some(1)).count(),
            1
        );
        let whole = Ketama::default()
            .most_points(320)
            .build(&tier(&[("10.0.0.1:80", 2)]));
        assert_eq!(whole.points(), 320);
        let cut = Ketama::default()
            .most_points(319)
            .build(&tier(&[("10.0.0.1:80", 2)]));
        assert_eq!(cut.points(), 319);
    }

    #[test]
    fn a_point_takes_ten_to_twelve_bytes() {
        for weight in [1, 2, 3, 4, 7] {
            let ring = ring(&[("10.0.0.1:80", weight)]);
            assert!(
                ring.bytes() <= ring.points() * 12 + 4,
                "{weight}: {}",
                ring.bytes()
            );
            assert!(
                ring.bytes() >= ring.points() * 10,
                "{weight}: {}",
                ring.bytes()
            );
        }
    }
}
