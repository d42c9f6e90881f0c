//! Which models go to make room: properties of the pure decision.

use std::time::{Duration, Instant};

use engine::{Resident, Room, make_room};
use proptest::prelude::*;

fn residents() -> impl Strategy<Value = Vec<Resident>> {
    let start = Instant::now();
    let resident = (0..60_u64, proptest::option::of(0..50_u64), any::<bool>());
    let resident = resident.prop_map(move |(bytes, idle, pinned)| Resident {
        bytes,
        idle_since: idle.map(|seconds| start + Duration::from_secs(seconds)),
        pinned,
    });
    proptest::collection::vec(resident, 0..8)
}

fn sum<'a>(residents: impl Iterator<Item = &'a Resident>) -> u64 {
    residents.map(|resident| resident.bytes).sum()
}

proptest! {
    #[test]
    fn only_idle_models_go_the_longest_idle_first_and_no_more_than_needed(
        residents in residents(), budget in 0..200_u64, needed in 0..120_u64,
    ) {
        let may_go = |r: &&Resident| !r.pinned && r.idle_since.is_some();
        let pinned = sum(residents.iter().filter(|r| r.pinned));
        let stuck = sum(residents.iter().filter(|r| !may_go(r)));
        match make_room(budget, needed, &residents) {
            Room::Never => prop_assert!(pinned + needed > budget),
            Room::Later => prop_assert!(pinned + needed <= budget && stuck + needed > budget),
            Room::Evict(evicted) => {
                let held = |evicted: &[usize]| {
                    sum(residents.iter()) - sum(evicted.iter().map(|&index| &residents[index]))
                };
                prop_assert!(held(&evicted) + needed <= budget, "it fits afterwards");
                if let Some((_, but_last)) = evicted.split_last() {
                    prop_assert!(held(but_last) + needed > budget, "the last had to go");
                }
                let gone: Vec<_> = evicted.iter().map(|&index| &residents[index]).collect();
                prop_assert!(gone.iter().all(may_go));
                prop_assert!(gone.is_sorted_by_key(|r| r.idle_since));
                let newest_gone = gone.last().and_then(|r| r.idle_since);
                let stays = residents.iter().enumerate().filter(|(i, _)| !evicted.contains(i));
                // What takes nothing gives nothing.
                let stays = stays.filter(|(_, r)| r.bytes > 0);
                let oldest_left = stays.map(|(_, r)| r).filter(may_go).filter_map(|r| r.idle_since).min();
                if let (Some(gone), Some(left)) = (newest_gone, oldest_left) {
                    prop_assert!(gone <= left, "least recently used first");
                }
            }
        }
    }

    #[test]
    fn sums_beyond_all_memory_do_not_wrap(needed in any::<u64>(), bytes in any::<u64>(), budget in 0..u64::MAX) {
        let resident = Resident { bytes, idle_since: None, pinned: false };
        let room = make_room(budget, needed, &[resident, resident]);
        let fits = u128::from(needed) + 2 * u128::from(bytes) <= u128::from(budget);
        prop_assert_eq!(room == Room::Evict(Vec::new()), fits);
    }
}
