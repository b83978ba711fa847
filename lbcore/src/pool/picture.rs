//! From what is known of the backends to the picture that schedulers see.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::event::EventKind;
use super::members::Member;
use super::state::State;
use super::tiers::{Census, Part, WHOLE, divide};
use super::view::{BackendStatus, Place, PoolView, SlotEntry, ViewTier};
use crate::health::Health;
use crate::schedule::{Candidate, Tier};
use crate::{BackendId, Instant};

/// The members of one priority: of the balancer's own zone, and the others.
#[derive(Default)]
struct Group<'a> {
    local: Vec<&'a Member>,
    other: Vec<&'a Member>,
}

impl State {
    /// Draws the picture of this moment.
    pub(super) fn draw(&mut self, now: Instant) -> PoolView {
        let tiers = self.draw_tiers(now);
        self.tell_panic(now, &tiers);
        let mut places = BTreeMap::new();
        for (at, tier) in tiers.iter().enumerate() {
            for (position, candidate) in tier.tier.candidates().iter().enumerate() {
                places.insert(candidate.backend.id, Place { tier: at, position });
            }
        }
        let place = |id: BackendId| places.get(&id).copied();
        let share = |place: Place| {
            let tier = tiers.get(place.tier);
            tier.and_then(|tier| tier.tier.candidates().get(place.position))
                .map_or(0, |c| c.share)
        };
        let backends = self.members.by_id.iter().map(|(&id, member)| {
            let place = place(id).unwrap_or_default();
            BackendStatus {
                backend: Arc::clone(&member.backend),
                health: member.health(),
                ejected_until: member.ejected_until,
                share: share(place),
                ticket: member.ticket,
                place,
            }
        });
        let backends = backends.collect();
        self.generation += 1;
        self.drawn_at = now;
        self.stale = false;
        self.next_step = self
            .members
            .by_id
            .values()
            .filter_map(|it| self.step(now, it))
            .min();
        let slots = self.members.slot_entries(place);
        let used = |entry: &Option<SlotEntry>| NonZeroU32::new(entry.as_ref()?.generation);
        PoolView {
            generation: self.generation,
            generations: slots.iter().map(used).collect(),
            slots,
            backends,
            tiers,
        }
    }

    fn draw_tiers(&self, now: Instant) -> Box<[ViewTier]> {
        let rule = self.config.rule();
        let mut groups: BTreeMap<u8, Group<'_>> = BTreeMap::new();
        for member in self.members.by_id.values() {
            let group = groups.entry(member.backend.priority).or_default();
            let zone = self.config.zone.as_ref();
            let local = zone.is_some() && zone == member.backend.zone.as_ref();
            if local {
                group.local.push(member)
            } else {
                group.other.push(member)
            }
        }
        let census: Vec<Census> = groups
            .values()
            .map(|group| census(group.local.iter().chain(&group.other)))
            .collect();
        let mut tiers = Vec::new();
        for ((priority, group), part) in groups.into_iter().zip(divide(&census, rule)) {
            let zones = divide(&[census_of(&group.local), census_of(&group.other)], rule);
            for (members, local, zone) in [
                (group.local, true, zones.first()),
                (group.other, false, zones.get(1)),
            ] {
                if !members.is_empty() {
                    let load = scale(part, zone.copied().unwrap_or_default());
                    let tier = self.draw_tier(now, &members, part.panic);
                    tiers.push(ViewTier {
                        tier,
                        priority,
                        local,
                        load,
                        panic: part.panic,
                    });
                }
            }
        }
        tiers.into()
    }

    fn draw_tier(&self, now: Instant, members: &[&Member], panic: bool) -> Tier {
        let any_up = members
            .iter()
            .any(|member| member.backend.is_in_service() && member.is_up());
        let candidates = members.iter().map(|member| {
            let eligible = panic || member.is_up() || (!any_up && is_unknown(member));
            let share = if eligible { self.share(now, member) } else { 0 };
            let ticket = member.ticket;
            Candidate {
                backend: Arc::clone(&member.backend),
                share,
                ticket,
            }
        });
        Tier::new(candidates.collect())
    }

    /// A member's share if it is eligible; 0 when configuration keeps it out.
    fn share(&self, now: Instant, member: &Member) -> u32 {
        if !member.backend.is_in_service() {
            return 0;
        }
        let whole = u32::from(member.backend.weight.0) * Candidate::ONE;
        match (self.config.slow_start.as_ref(), member.warming_since) {
            (Some(slow_start), Some(since)) => {
                let factor = slow_start.factor(now.since(since));
                part_of(whole, factor)
            }
            _ => whole,
        }
    }

    /// When the share of a member that warms up is to be drawn again.
    fn step(&self, now: Instant, member: &Member) -> Option<Instant> {
        let (slow_start, since) = (self.config.slow_start?, member.warming_since?);
        slow_start
            .next_step(now.since(since))
            .map(|step| since + step)
    }

    /// Tells which priorities began or ceased to panic.
    fn tell_panic(&mut self, now: Instant, tiers: &[ViewTier]) {
        let panics = tiers
            .iter()
            .filter(|tier| tier.panic)
            .map(|tier| tier.priority)
            .collect();
        let before = std::mem::replace(&mut self.panics, panics);
        for &priority in self.panics.difference(&before) {
            self.events
                .push(now, EventKind::Panic { priority, on: true });
        }
        for &priority in before.difference(&self.panics) {
            self.events.push(
                now,
                EventKind::Panic {
                    priority,
                    on: false,
                },
            );
        }
    }
}

/// At least 1, so that what is eligible stays so.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a factor of 0..=1 of a number that fits"
)]
fn part_of(whole: u32, factor: f64) -> u32 {
    ((f64::from(whole) * factor.clamp(0.0, 1.0)).round() as u32).max(1)
}

fn is_unknown(member: &Member) -> bool {
    member.health() == Health::Unknown && member.ejected_until.is_none()
}

fn scale(group: Part, zone: Part) -> u32 {
    // A group whose zones can take nothing gets nothing to divide.
    let load = u64::from(group.load) * u64::from(zone.load) / u64::from(WHOLE);
    u32::try_from(load).unwrap_or(WHOLE)
}

fn census_of(members: &[&Member]) -> Census {
    census(members.iter())
}

fn census<'a>(members: impl Iterator<Item = &'a &'a Member>) -> Census {
    let mut census = Census::default();
    for member in members.filter(|member| member.backend.is_in_service()) {
        if is_unknown(member) {
            census.unknown += 1;
        } else {
            census.known += 1;
            census.up += u32::from(member.is_up());
        }
    }
    census
}
