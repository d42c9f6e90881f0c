//! From sequences to a step.

use super::cost::Load;
use super::sequence::Sequence;
use super::tenants::{NEW_TOKEN, PROMPT_TOKEN};
use super::{Mix, Plan, Schedule, Start};
use crate::model::Recall;

/// Every so many plans the oldest prompt goes first, whatever its class and tenant.
const OLDEST_EVERY_TURNS: u64 = 8;
/// A part of a cut with fewer rows costs more for each of them: it is not halved again.
const PART_MIN_TOKENS: usize = 16;

impl Schedule {
    /// The next step; empty when nothing can run. What it plans counts as computed, guesses aside.
    pub fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        self.turn += 1;
        self.admit(&mut plan);
        self.plan_known(&mut plan);
        self.plan_drafts(&mut plan);
        plan
    }

    /// The rows of tokens that are known.
    fn plan_known(&mut self, plan: &mut Plan) {
        let prompts_first = match self.limits.mix {
            Mix::Mixed => {
                self.plan_decodes(plan, true);
                self.plan_prefills(plan);
                return;
            }
            Mix::PromptsFirst => true,
            Mix::Separate => self.turn.is_multiple_of(2),
        };
        for prompts in [prompts_first, !prompts_first] {
            if prompts {
                self.plan_prefills(plan);
            } else {
                self.plan_decodes(plan, false);
            }
            if !plan.step.spans.is_empty() {
                break;
            }
        }
    }

    /// The newest tokens of all sequences; where there are prompts to mix in, all but one cut of a step is for them.
    fn plan_decodes(&mut self, plan: &mut Plan, mixes: bool) {
        let prefills = mixes && self.running.iter().any(Sequence::in_prefill);
        let spared = if prefills { self.limits.cut_tokens } else { 0 };
        let room = self.limits.step_tokens - spared;
        let decoders = self.running.iter().filter(|s| s.decodes()).count();
        if decoders == 0 {
            return;
        }
        // Who had no turn this time comes first the next time.
        let first = if decoders > room {
            let first = self.next_decode % decoders;
            self.next_decode = first + room;
            first
        } else {
            0
        };
        let (mut ordinal, mut index) = (0, 0);
        // From the first in rank to the last, so that who yields has no rows in the step yet.
        while index < self.running.len() {
            if self.running[index].decodes() {
                let is_chosen = (ordinal + decoders - first) % decoders < room;
                ordinal += 1;
                if is_chosen {
                    if !self.grow(index, plan) {
                        break;
                    }
                    let sequence = &mut self.running[index];
                    sequence.plan_rows(1, &mut plan.step);
                    self.tenants.charge(sequence.caller.tenant, NEW_TOKEN);
                }
            }
            index += 1;
        }
    }

    /// Cuts of prompts, as many as the time between two tokens allows those that generate, and one at least, or a part of
    /// one.
    fn plan_prefills(&mut self, plan: &mut Plan) {
        let streams = !plan.step.spans.is_empty();
        let mut load = Load::of(&plan.step);
        let mut has_cut = false;
        for index in self.prefill_order() {
            self.catch_up(index);
            while self.running[index].in_prefill() {
                let mut rows = self.running[index].next_cut(self.limits.cut_tokens);
                if streams && !has_cut {
                    rows = self.part(index, rows, load);
                }
                let sequence = &mut self.running[index];
                let with = load.with(sequence.computed, rows);
                let is_late = || self.estimate.seconds(with) > self.limits.target.as_secs_f64();
                if with.rows > self.limits.step_tokens || (streams && has_cut && is_late()) {
                    return;
                }
                if !sequence.has_started {
                    sequence.has_started = true;
                    let (id, cached) = (sequence.id, sequence.computed);
                    plan.starts.push(Start { id, cached });
                }
                sequence.plan_rows(rows, &mut plan.step);
                let tokens = rows as u64 * PROMPT_TOKEN;
                self.tenants.charge(sequence.caller.tenant, tokens);
                load = with;
                has_cut = true;
            }
        }
    }

    /// Seconds that others may add to a step which takes so many without them: up to the time between two tokens, or half of
    /// that, or half of what the step takes by itself, where that is more. On a slow device a prompt would not get on, else.
    pub(super) fn allowance(&self, without: f64) -> f64 {
        let target = self.limits.target.as_secs_f64();
        (target - without).max(target / 2.0).max(without / 2.0)
    }

    /// So many of a cut's rows that those that generate need not wait for it beyond [`Self::allowance`]. Only where it does
    /// not matter at which positions a prompt is cut.
    fn part(&self, index: usize, cut: usize, load: Load) -> usize {
        if self.limits.recall != Recall::Blocks {
            return cut;
        }
        let without = self.estimate.seconds(load);
        let most = self.allowance(without);
        let mut rows = cut;
        while rows >= PART_MIN_TOKENS {
            let with = load.with(self.running[index].computed, rows);
            if self.estimate.seconds(with) - without <= most {
                break;
            }
            rows = rows.div_ceil(2);
        }
        rows
    }

    /// Prompts in the order of this turn. By turns the shortest of the most urgent class goes first, and that of the
    /// tenant that had least; now and then the oldest of all.
    fn prefill_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.running.len())
            .filter(|&index| self.running[index].in_prefill())
            .collect();
        let of = |index: &usize| &self.running[*index];
        if self.turn.is_multiple_of(OLDEST_EVERY_TURNS) {
            order.sort_by_key(|index| of(index).arrival);
        } else if self.turn.is_multiple_of(2) {
            order.sort_by_cached_key(|index| {
                let sequence = of(index);
                let counted = self.tenants.counted(sequence.caller.tenant);
                (sequence.class(), counted, sequence.arrival)
            });
        } else {
            order.sort_by_key(|index| {
                let sequence = of(index);
                let left = sequence.prefill_len - sequence.computed;
                (sequence.class(), left, sequence.arrival)
            });
        }
        order
    }
}
