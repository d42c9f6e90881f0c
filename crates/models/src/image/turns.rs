//! What a painter does next: whose picture begins, which pictures take a step together, whose is decoded.
//!
//! Pictures of one size share steps, the oldest first, as many as fit in a pass. Of those that may go on, who was
//! served longest ago is next, so that sizes take turns and nobody is passed over for ever.

use std::collections::BTreeMap;

use engine::model::SequenceId;

use super::pipeline::Size;

/// What a picture needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be begun, by itself.
    Ordered,
    /// A step.
    Begun,
    /// To be decoded, by itself.
    Painted,
}

/// A live picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) id: SequenceId,
    pub(super) size: Size,
    pub(super) stage: Stage,
    /// Pictures of its size that fit in a pass; at least one.
    pub(super) fit: usize,
    /// The turn in which it was served last, or came.
    pub(super) served: u64,
}

/// The work of a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    Begin(SequenceId),
    /// A step of each, in one pass.
    Step(Vec<SequenceId>),
    Decode(SequenceId),
}

/// The next turn's work among live pictures, the oldest first; `None` where there are none.
pub(super) fn next(seats: &[Seat]) -> Option<Work> {
    let mut hands: BTreeMap<Size, Vec<&Seat>> = BTreeMap::new();
    for seat in seats {
        let hand = hands.entry(seat.size).or_default();
        if hand.len() < seat.fit.max(1) {
            hand.push(seat);
        }
    }
    let in_hand = hands.values().flatten();
    let first = in_hand.min_by_key(|seat| (seat.served, seat.id))?;
    Some(match first.stage {
        Stage::Ordered => Work::Begin(first.id),
        Stage::Painted => Work::Decode(first.id),
        Stage::Begun => {
            let hand = hands.get(&first.size)?.iter();
            let begun = hand.filter(|seat| seat.stage == Stage::Begun);
            Work::Step(begun.map(|seat| seat.id).collect())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures that have so many steps to take, and what was done for them.
    struct Studio {
        seats: Vec<(Seat, usize)>,
        turn: u64,
    }

    impl Studio {
        fn new() -> Self {
            Self {
                seats: Vec::new(),
                turn: 0,
            }
        }

        fn order(&mut self, id: u64, side: u32, steps: usize, fit: usize) {
            let seat = Seat {
                id: SequenceId(id),
                size: (side, side),
                stage: Stage::Ordered,
                fit,
                served: self.turn,
            };
            self.seats.push((seat, steps));
        }

        /// Does a turn; gives the ids that it served.
        fn turn(&mut self) -> (char, Vec<u64>) {
            let seats: Vec<_> = self.seats.iter().map(|(seat, _)| *seat).collect();
            let (word, ids) = match next(&seats).expect("somebody to serve") {
                Work::Begin(id) => ('b', vec![id]),
                Work::Step(ids) => ('s', ids),
                Work::Decode(id) => ('d', vec![id]),
            };
            self.turn += 1;
            for (seat, steps) in &mut self.seats {
                if ids.contains(&seat.id) {
                    seat.served = self.turn;
                    *steps -= usize::from(word == 's');
                    seat.stage = match *steps {
                        0 => Stage::Painted,
                        _ => Stage::Begun,
                    };
                }
            }
            if word == 'd' {
                self.seats.retain(|(seat, _)| seat.id != ids[0]);
            }
            (word, ids.into_iter().map(|id| id.0).collect())
        }

        fn turns(&mut self, count: usize) -> String {
            let turns = (0..count).map(|_| self.turn());
            let turns = turns.map(|(word, ids)| {
                let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
                format!("{word}{}", ids.join("+"))
            });
            turns.collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn pictures_of_a_size_share_steps_as_they_come_and_go() {
        let mut studio = Studio::new();
        studio.order(1, 512, 4, 4);
        studio.order(2, 512, 2, 4);
        assert_eq!(studio.turns(3), "b1 b2 s1+2");
        studio.order(3, 512, 1, 4);
        assert_eq!(studio.turns(7), "s1+2 b3 s1+3 d2 s1 d3 d1");
        assert!(studio.seats.is_empty());
    }

    #[test]
    fn the_oldest_that_fit_go_first_and_the_others_begin_in_their_places() {
        let mut studio = Studio::new();
        for id in 1..=3 {
            studio.order(id, 1024, 2, 2);
        }
        assert_eq!(
            studio.turns(10),
            "b1 b2 s1+2 s1+2 d1 b3 d2 s3 s3 d3",
            "two at a time"
        );
        for id in 4..=5 {
            studio.order(id, 2048, 1, 1);
        }
        assert_eq!(studio.turns(6), "b4 s4 d4 b5 s5 d5", "one after the other");
    }

    #[test]
    fn sizes_take_turns() {
        let mut studio = Studio::new();
        studio.order(1, 512, 9, 4);
        studio.order(2, 512, 9, 4);
        studio.order(3, 1024, 9, 4);
        assert_eq!(studio.turns(7), "b1 b2 b3 s1+2 s3 s1+2 s3");
    }

    /// However many come that need a turn of their own and no steps, who has steps to take goes on.
    #[test]
    fn nobody_is_passed_over() {
        let mut studio = Studio::new();
        studio.order(1, 512, 20, 4);
        let mut steps = 0;
        for id in 2..200 {
            while studio.seats.len() < 4 {
                studio.order(id * 10 + studio.seats.len() as u64, 512, 0, 4);
            }
            let (word, ids) = studio.turn();
            steps += usize::from(word == 's' && ids == [1]);
        }
        assert_eq!(steps, 20);
    }
}
