//! Schedulers by the names and options of the file.

use lbcore::hash::HashKey;
use lbcore::schedule::{
    AnyScheduler, BoundedLoad, Ketama, Maglev, PeakEwma, Prequal, Rendezvous, RowBits,
};

use crate::config;

/// The scheduler of this name with these options.
///
/// # Errors
///
/// Says what the library does not take; the parser lets nothing like it through.
pub(super) fn make(from: &config::Scheduler) -> Result<AnyScheduler, String> {
    let options = &from.options;
    let seed = options.seed.map(HashKey::from_seed);
    Ok(match from.name {
        "bounded-load" => {
            let bounded = BoundedLoad::over(maglev(seed, options.table_size)?);
            let factor = options.factor.unwrap_or(BoundedLoad::<Maglev>::FACTOR);
            AnyScheduler::new(bounded.factor(factor).map_err(|error| error.to_string())?)
        }
        "ketama" => AnyScheduler::new(set(
            Ketama::default(),
            options.most_points,
            Ketama::most_points,
        )),
        "maglev" => AnyScheduler::new(maglev(seed, options.table_size)?),
        "peak-ewma" => AnyScheduler::new(set(PeakEwma::default(), options.decay, PeakEwma::decay)),
        "prequal" => {
            let draws = options.draws.map(usize::from);
            let prequal = set(Prequal::default(), draws, Prequal::draws);
            AnyScheduler::new(set(prequal, options.quantile, Prequal::quantile))
        }
        "rendezvous" => {
            let bits = options.row_bits.and_then(|bits| RowBits::new(bits.into()));
            let rendezvous = set(Rendezvous::default(), seed, Rendezvous::seed);
            AnyScheduler::new(set(rendezvous, bits, Rendezvous::rows))
        }
        name => {
            let named = AnyScheduler::named(name);
            named.ok_or_else(|| format!("no scheduler is named {name:?}"))?
        }
    })
}

fn maglev(seed: Option<HashKey>, slots: Option<u32>) -> Result<Maglev, String> {
    let maglev = set(Maglev::default(), seed, Maglev::seed);
    match slots {
        Some(slots) => maglev.table_size(slots).map_err(|error| error.to_string()),
        None => Ok(maglev),
    }
}

/// `plain`, with `value` if one is said.
fn set<S, V>(plain: S, value: Option<V>, with: impl FnOnce(S, V) -> S) -> S {
    match value {
        Some(value) => with(plain, value),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use lbcore::{Backend, BackendId, Instant, Pick, Pool};

    use super::*;

    /// What is made for a pool with this scheduler and these options.
    fn made(name: &str, options: &str) -> AnyScheduler {
        let text = format!(
            "[[pool]]\nname = \"p\"\nscheduler = \"{name}\"\noptions = {{ {options} }}\n\
             [[listener]]\nname = \"l\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:1\"\npool = \"p\"\n"
        );
        let config = config::parse(&text).expect(&text).config;
        make(&config.pools[0].scheduler).expect(name)
    }

    fn spelled(name: &str, options: &str) -> String {
        format!("{:?}", made(name, options))
    }

    #[test]
    fn every_name_that_the_file_may_say_makes_a_scheduler() {
        for name in config::SCHEDULERS {
            let spelled = spelled(name, "").to_lowercase();
            let last = name.rsplit('-').next().expect("a word");
            assert!(spelled.contains(&last[..3]), "{name}: {spelled}");
        }
        for name in AnyScheduler::NAMES {
            assert!(config::SCHEDULERS.contains(name), "{name}");
        }
    }

    #[test]
    fn every_option_changes_the_scheduler_that_takes_it() {
        for (name, option) in [
            ("bounded-load", "factor = 150"),
            ("bounded-load", "table_size = 65537"),
            ("ketama", "most_points = 1000"),
            ("maglev", "table_size = 65537"),
            ("peak-ewma", "decay = \"3s\""),
            ("prequal", "draws = 3"),
            ("prequal", "quantile = 0.5"),
            ("rendezvous", "row_bits = 10"),
        ] {
            assert_ne!(spelled(name, option), spelled(name, ""), "{name} {option}");
        }
    }

    /// Where 64 keys are placed among three backends.
    fn placed(name: &str, options: &str) -> Vec<BackendId> {
        let backends = ["a", "b", "c"].map(|name| {
            let address = "127.0.0.1:1".parse().expect("an address");
            Backend::new(name, address)
        });
        let mut balancer = Pool::new(made(name, options))
            .backends(backends)
            .balancer(0);
        let mut place = |key: u64| {
            let lease = balancer.acquire(Instant::ZERO, &Pick::keyed(key << 58));
            lease.expect("a backend").backend()
        };
        (0..64).map(&mut place).collect()
    }

    #[test]
    fn a_seed_decides_where_keys_are_placed() {
        for name in ["bounded-load", "maglev", "rendezvous"] {
            let seven = placed(name, "seed = 7");
            assert_eq!(seven, placed(name, "seed = 7"), "{name}");
            assert_ne!(seven, placed(name, "seed = 8"), "{name}");
        }
    }
}
