//! Watermarks: strategies by ticks, idleness, what meets at unions and connects, watermarks per split, alignment, and the
//! mistakes of a plan. All steps are of a test driver; expected results of `flinks_rules` are those of Flink 2.3.

#[path = "watermarks/alignment.rs"]
mod alignment;
#[path = "watermarks/flinks_rules.rs"]
mod flinks_rules;
#[path = "watermarks/mistakes.rs"]
mod mistakes;
#[path = "watermarks/per_split.rs"]
mod per_split;
