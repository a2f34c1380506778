//! The work that intersections of regular expressions are.
//!
//! `derivre` decides step by step whether an intersection (`&` and `~` in Lark,
//! `pattern`s that apply to one string in a schema) can match anything. In each
//! step it pairs what each side may begin with, with no look at its fuel before
//! all pairs are made: twenty sides of five beginnings each are 5^20 pairs.
//! Therefore the pairs are bounded before, by the size of the expressions.

use llguidance::derivre::ExprRef;
use llguidance::derivre::raw::ExprSet;

/// Most pairs of one step. A million of them are one or two seconds and a hundred megabytes; the fuel of a grammar is
/// spent before the second step of such a size.
pub(super) const PAIRS: u64 = 1 << 20;

/// The beginnings of the complement of an expression: each byte apart.
const BYTES: u64 = 256;

/// The kinds of expressions whose beginnings are not those of their parts, by the numbers that `derivre` gives them.
mod kind {
    pub(super) const BYTE: u8 = 3;
    pub(super) const BYTE_SET: u8 = 4;
    pub(super) const BYTE_CONCAT: u8 = 5;
    pub(super) const REMAINDER_IS: u8 = 6;
    pub(super) const NOT: u8 = 8;
    pub(super) const AND: u8 = 12;
}

/// Beginnings of an expression, and of all that can be left of it: a bound.
#[derive(Clone, Copy, Debug, Default)]
struct Beginnings {
    count: u64,
    /// True where it contains an intersection, whose beginnings are more than its bytes.
    has_and: bool,
}

/// Beginnings of each expression of a set, by its number. Parts come before what is made of them.
fn beginnings(expressions: &ExprSet) -> Vec<Beginnings> {
    let mut expressions = expressions.clone();
    let all = 0..u32::try_from(expressions.len()).unwrap_or(u32::MAX);
    let all: Vec<ExprRef> = all.map(ExprRef::new).collect();
    let exists = |expression: &ExprRef, set: &ExprSet| set.is_valid(*expression);
    let sets = all
        .iter()
        .filter(|one| exists(one, &expressions) && tag(&expressions, **one) == kind::BYTE_SET);
    // Without an intersection, each beginning is a byte or a set of bytes that is written somewhere.
    let most = BYTES + sets.count() as u64;
    let mut found = vec![Beginnings::default(); all.len()];
    for one in all {
        if !exists(&one, &expressions) {
            continue;
        }
        let parts: Vec<ExprRef> = expressions.get_args(one).to_vec();
        let parts_of = |found: &[Beginnings]| -> Vec<Beginnings> {
            let number = |part: &ExprRef| found.get(part.as_usize()).copied();
            parts.iter().filter_map(number).collect()
        };
        let of_parts = parts_of(&found);
        let sum = of_parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.count));
        let mut has_and = of_parts.iter().any(|part| part.has_and);
        let count = match tag(&expressions, one) {
            kind::BYTE | kind::BYTE_SET => 1,
            kind::REMAINDER_IS => 11,
            kind::NOT => BYTES,
            kind::BYTE_CONCAT => {
                let whole = u64::from(expressions.get_weight(one));
                let rest: u64 = parts
                    .iter()
                    .map(|part| u64::from(expressions.get_weight(*part)))
                    .sum();
                sum.saturating_add(whole.saturating_sub(rest).clamp(1, BYTES))
            }
            kind::AND => {
                has_and = true;
                of_parts
                    .iter()
                    .fold(1_u64, |pairs, part| pairs.saturating_mul(part.count.max(1)))
            }
            _ => sum,
        };
        found[one.as_usize()] = Beginnings {
            count: if has_and { count } else { count.min(most) },
            has_and,
        };
    }
    found
}

fn tag(expressions: &ExprSet, one: ExprRef) -> u8 {
    expressions.get_tag(one) as u8
}

/// Pairs of one step of the largest intersection in a set; zero if there is none.
pub(super) fn pairs(expressions: &ExprSet) -> u64 {
    let found = beginnings(expressions);
    let pairs = found.iter().filter(|one| one.has_and);
    pairs.map(|one| one.count).max().unwrap_or(0)
}

/// The beginnings of one expression of a set.
pub(super) fn width(expressions: &ExprSet, one: ExprRef) -> u64 {
    let found = beginnings(expressions);
    found.get(one.as_usize()).map_or(1, |one| one.count.max(1))
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
        pairs(builder.exprset())
    }

    #[test]
    fn an_intersection_has_as_many_pairs_as_the_beginnings_of_its_sides_multiply_to() {
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
    fn a_complement_begins_with_any_byte() {
        let not = RegexAst::Not(Box::new(regex("[a-c]x")));
        assert_eq!(pairs_of(&RegexAst::And(vec![not, regex("[a-z]*")])), 256);
    }
}
