//! How much of the traffic each priority and zone gets: overflow and panic, as Envoy decides them.

/// How many parts all traffic is cut into.
pub(crate) const WHOLE: u32 = 10_000;

/// The members of one tier by health, as far as it can take sessions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Census {
    /// Those in service of known health.
    pub(crate) known: u32,
    /// Those of them that are up.
    pub(crate) up: u32,
    /// Those in service of which nothing is known yet.
    pub(crate) unknown: u32,
}

/// What a tier gets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Part {
    /// Of [`WHOLE`].
    pub(crate) load: u32,
    /// Whether to disregard health: too little of it is up.
    pub(crate) panic: bool,
}

/// The two numbers of the rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// How much a healthy backend can take beyond its own share, in percent: 140.
    pub(crate) overprovisioning: u32,
    /// Below this share of backends up, in percent, health is disregarded; 0 is never.
    pub(crate) panic_threshold: u32,
}

impl Census {
    /// Backends that would take sessions if every probe passed.
    const fn members(self) -> u32 {
        self.known + self.unknown
    }

    /// How much of all traffic it can take, of [`WHOLE`]; what is unknown counts only where nothing
    /// is known.
    fn capacity(self, rule: Rule) -> u32 {
        let (up, all) = if self.known == 0 {
            (self.unknown, self.unknown)
        } else {
            (self.up, self.known)
        };
        if all == 0 {
            return 0;
        }
        let able = u64::from(up) * u64::from(rule.overprovisioning) * u64::from(WHOLE / 100);
        u32::try_from(able / u64::from(all))
            .unwrap_or(WHOLE)
            .min(WHOLE)
    }

    fn panics(self, rule: Rule) -> bool {
        self.known > 0
            && u64::from(self.up) * 100 < u64::from(self.known) * u64::from(rule.panic_threshold)
    }
}

/// Divides all traffic between tiers in the order of their priority.
///
/// A tier takes what its healthy members can, at 1.4 times their share, and the rest overflows to
/// the next. If all together cannot take everything, each takes in proportion, and a tier with too
/// little up panics: it uses all its members. With nothing up at all, tiers take by size.
///
/// Source: Envoy, "Priority levels" and "Panic threshold" of its load balancing documentation.
pub(crate) fn divide(census: &[Census], rule: Rule) -> Vec<Part> {
    let able: Vec<u32> = census.iter().map(|tier| tier.capacity(rule)).collect();
    let total: u32 = able.iter().sum();
    if total >= WHOLE {
        let mut left = WHOLE;
        let cascade = able.into_iter().map(|able| {
            let load = able.min(left);
            left -= load;
            Part { load, panic: false }
        });
        return cascade.collect();
    }
    let panics: Vec<bool> = census.iter().map(|tier| tier.panics(rule)).collect();
    let by_size = total == 0;
    let wants = census
        .iter()
        .zip(&able)
        .zip(&panics)
        .map(|((tier, &able), &panic)| {
            if by_size {
                if panic { tier.members() } else { 0 }
            } else {
                able
            }
        });
    let loads = in_proportion(&wants.collect::<Vec<_>>());
    loads
        .into_iter()
        .zip(panics)
        .map(|(load, panic)| Part { load, panic })
        .collect()
}

/// Parts of [`WHOLE`] in proportion to `wants`; what rounding leaves goes to the first that wants.
fn in_proportion(wants: &[u32]) -> Vec<u32> {
    let total: u64 = wants.iter().map(|&want| u64::from(want)).sum();
    if total == 0 {
        return vec![0; wants.len()];
    }
    let part = |&want: &u32| u32::try_from(u64::from(want) * u64::from(WHOLE) / total);
    let mut parts: Vec<u32> = wants
        .iter()
        .map(|want| part(want).unwrap_or(WHOLE))
        .collect();
    let given: u32 = parts.iter().sum();
    if let Some((first, _)) = parts.iter_mut().zip(wants).find(|(_, want)| **want > 0) {
        *first += WHOLE - given;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVOY: Rule = Rule {
        overprovisioning: 140,
        panic_threshold: 50,
    };

    fn census(up: u32, known: u32) -> Census {
        Census {
            known,
            up,
            unknown: 0,
        }
    }

    fn loads(tiers: &[Census]) -> Vec<(u32, bool)> {
        divide(tiers, ENVOY)
            .into_iter()
            .map(|part| (part.load / 100, part.panic))
            .collect()
    }

    /// The tables of Envoy's documentation on priority levels, with 100 backends a level.
    #[test]
    fn overflow_follows_envoys_tables() {
        for (up0, expected) in [
            (100, [100, 0]),
            (72, [100, 0]),
            (50, [70, 30]),
            (25, [35, 65]),
            (0, [0, 100]),
        ] {
            let got = loads(&[census(up0, 100), census(100, 100)]);
            assert_eq!(
                got,
                [(expected[0], false), (expected[1], false)],
                "{up0} % up"
            );
        }
        let just_below = divide(&[census(71, 100), census(100, 100)], ENVOY);
        assert_eq!(
            just_below.iter().map(|part| part.load).collect::<Vec<_>>(),
            [9_940, 60]
        );
        let three = [census(20, 100), census(20, 100), census(100, 100)];
        assert_eq!(loads(&three), [(28, false), (28, false), (44, false)]);
    }

    #[test]
    fn too_little_health_overall_is_scaled_and_panics_below_the_threshold() {
        // 25 % of both: 35 + 35 of 100, so each half; both are below 50 %.
        assert_eq!(
            loads(&[census(25, 100), census(25, 100)]),
            [(50, true), (50, true)]
        );
        assert_eq!(loads(&[census(2, 3)]), [(100, false)]);
        assert_eq!(loads(&[census(1, 2)]), [(100, false)]);
        assert_eq!(loads(&[census(1, 3)]), [(100, true)]);
        assert_eq!(loads(&[census(49, 100)]), [(100, true)]);
        assert_eq!(loads(&[census(50, 100)]), [(100, false)]);
    }

    #[test]
    fn with_nothing_up_traffic_goes_by_size_in_panic() {
        assert_eq!(
            loads(&[census(0, 3), census(0, 1)]),
            [(75, true), (25, true)]
        );
    }

    #[test]
    fn without_panic_nothing_up_gets_nothing() {
        let never = Rule {
            panic_threshold: 0,
            ..ENVOY
        };
        let parts = divide(&[census(0, 3)], never);
        assert_eq!(
            parts,
            [Part {
                load: 0,
                panic: false
            }]
        );
    }

    #[test]
    fn what_is_unknown_counts_only_where_nothing_is_known() {
        let unknown = |unknown| Census {
            known: 0,
            up: 0,
            unknown,
        };
        assert_eq!(
            loads(&[unknown(3), census(3, 3)]),
            [(100, false), (0, false)]
        );
        let mixed = Census {
            known: 1,
            up: 1,
            unknown: 9,
        };
        assert_eq!(loads(&[mixed]), [(100, false)]);
        let bad = Census {
            known: 2,
            up: 0,
            unknown: 9,
        };
        assert_eq!(loads(&[bad, census(1, 1)]), [(0, false), (100, false)]);
        assert_eq!(loads(&[]), []);
        assert_eq!(loads(&[Census::default()]), [(0, false)]);
    }

    #[test]
    fn parts_always_make_a_whole() {
        for a in 0..=7 {
            for b in 0..=7 {
                let parts = divide(&[census(a, 7), census(b, 7), census(0, 0)], ENVOY);
                assert_eq!(
                    parts.iter().map(|part| part.load).sum::<u32>(),
                    WHOLE,
                    "{a} {b}"
                );
            }
        }
    }
}
