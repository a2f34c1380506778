//! The cost of intersections of regular expressions.
//!
//! `derivre` decides step by step whether an intersection (`&` and `~` in Lark, several `pattern`s for one string in a
//! schema) can match anything. In each step it pairs the branches of all sides, the ways in which each may begin, and
//! looks at its fuel only after all pairs are made: twenty sides of five branches are 5^20 pairs. Therefore the pairs
//! are limited before, by the size of the expressions.

use llguidance::derivre::ExprRef;
use llguidance::derivre::raw::ExprSet;

/// Most pairs of one step. A million of them take one or two seconds and a hundred megabytes; the fuel of a grammar is
/// spent before the second step of such a size.
pub(super) const MAX_PAIRS: u64 = 1 << 20;

/// The branches of the complement of an expression: one for each byte.
const BYTE_BRANCHES: u64 = 256;

/// The kinds of expressions whose branches are not those of their parts, by their tags in `derivre`.
mod kind {
    pub(super) const BYTE: u8 = 3;
    pub(super) const BYTE_SET: u8 = 4;
    pub(super) const BYTE_CONCAT: u8 = 5;
    pub(super) const REMAINDER_IS: u8 = 6;
    pub(super) const NOT: u8 = 8;
    pub(super) const AND: u8 = 12;
}

/// An upper bound of the branches of an expression and of all its derivatives.
#[derive(Clone, Copy, Debug, Default)]
struct Branches {
    count: u64,
    /// True if it contains an intersection, which has more branches than bytes.
    has_and: bool,
}

/// The branches of each expression of a set, by its number. Parts come before the expressions that contain them.
fn branches(expressions: &ExprSet) -> Vec<Branches> {
    let mut expressions = expressions.clone();
    let all = 0..u32::try_from(expressions.len()).unwrap_or(u32::MAX);
    let all: Vec<ExprRef> = all.map(ExprRef::new).collect();
    let exists = |expression: &ExprRef, set: &ExprSet| set.is_valid(*expression);
    let byte_sets = all.iter().filter(|expression| {
        exists(expression, &expressions) && tag(&expressions, **expression) == kind::BYTE_SET
    });
    // Without an intersection, each branch is a byte or a set of bytes that is written somewhere.
    let limit = BYTE_BRANCHES + byte_sets.count() as u64;
    let mut branches_of = vec![Branches::default(); all.len()];
    for expression in all {
        if !exists(&expression, &expressions) {
            continue;
        }
        let parts: Vec<ExprRef> = expressions.get_args(expression).to_vec();
        let parts_of = |branches_of: &[Branches]| -> Vec<Branches> {
            let number = |part: &ExprRef| branches_of.get(part.as_usize()).copied();
            parts.iter().filter_map(number).collect()
        };
        let of_parts = parts_of(&branches_of);
        let sum = of_parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.count));
        let mut has_and = of_parts.iter().any(|part| part.has_and);
        let count = match tag(&expressions, expression) {
            kind::BYTE | kind::BYTE_SET => 1,
            kind::REMAINDER_IS => 11,
            kind::NOT => BYTE_BRANCHES,
            kind::BYTE_CONCAT => {
                let whole = u64::from(expressions.get_weight(expression));
                let rest: u64 = parts
                    .iter()
                    .map(|part| u64::from(expressions.get_weight(*part)))
                    .sum();
                sum.saturating_add(whole.saturating_sub(rest).clamp(1, BYTE_BRANCHES))
            }
            kind::AND => {
                has_and = true;
                of_parts
                    .iter()
                    .fold(1_u64, |pairs, part| pairs.saturating_mul(part.count.max(1)))
            }
            _ => sum,
        };
        branches_of[expression.as_usize()] = Branches {
            count: if has_and { count } else { count.min(limit) },
            has_and,
        };
    }
    branches_of
}

fn tag(expressions: &ExprSet, expression: ExprRef) -> u8 {
    expressions.get_tag(expression) as u8
}

/// Pairs of one step of the largest intersection in a set; zero if there is none.
pub(super) fn max_pairs_per_step(expressions: &ExprSet) -> u64 {
    let branches_of = branches(expressions);
    let pairs = branches_of.iter().filter(|expression| expression.has_and);
    pairs.map(|expression| expression.count).max().unwrap_or(0)
}

/// The branches of one expression of a set.
pub(super) fn branch_count(expressions: &ExprSet, expression: ExprRef) -> u64 {
    let branches_of = branches(expressions);
    branches_of
        .get(expression.as_usize())
        .map_or(1, |expression| expression.count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use llguidance::derivre::{RegexAst, RegexBuilder};

    fn regex(text: &str) -> RegexAst {
        RegexAst::Regex(text.to_owned())
    }

    fn pairs_of(ast: &RegexAst) -> u64 {
        let mut builder = RegexBuilder::new();
        builder.mk(ast).expect("an expression");
        max_pairs_per_step(builder.exprset())
    }

    #[test]
    fn the_pairs_of_an_intersection_are_the_product_of_branches() {
        assert_eq!(pairs_of(&regex("[a-c]x|[a-d]y")), 0);
        let side = |from: char| regex(&format!("[{from}-x]1|[{from}-y]2|[{from}-z]3"));
        let two = pairs_of(&RegexAst::And(vec![side('a'), side('b')]));
        let three = pairs_of(&RegexAst::And(vec![side('a'), side('b'), side('c')]));
        assert_eq!((two, three), (36, 216));
        let nested = RegexAst::And(vec![
            RegexAst::Concat(vec![
                RegexAst::And(vec![side('a'), side('b')]),
                regex("[0-9]"),
            ]),
            side('c'),
        ]);
        assert_eq!(pairs_of(&nested), 37 * 6);
    }

    #[test]
    fn a_complement_has_a_branch_for_each_byte() {
        let not = RegexAst::Not(Box::new(regex("[a-c]x")));
        assert_eq!(pairs_of(&RegexAst::And(vec![not, regex("[a-z]*")])), 256);
    }
}
