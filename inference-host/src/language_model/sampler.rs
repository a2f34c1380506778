//! Sampling: the next token from the logits, outside of the graph.
//!
//! The steps are those of Hugging Face, in its order: repetition penalty, constraint, temperature, `top_k`, `top_p`
//! (nucleus), `min_p`. Equal logits are ordered by token. The exponential is that of `libm` in Rust, the same on every
//! machine.

use super::model_config::SamplingParams;
use std::cmp::Ordering;

/// The reason why there is no next token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SampleError {
    /// A logit is not a number, or is infinite.
    NotFinite { token: usize, value: String },
    /// The constraint allows no token.
    NoneAllowed,
}

/// Samples a token. `seen` are the tokens of the sequence so far, `allowed` is the constraint, `random` is in [0, 1).
pub(super) fn sample(
    logits: &mut [f32],
    sampling: &SamplingParams,
    seen: &[u32],
    allowed: Option<&dyn Fn(u32) -> bool>,
    random: f64,
) -> Result<u32, SampleError> {
    if let Some(token) = logits
        .iter()
        .position(|logit| logit.is_nan() || *logit == f32::INFINITY)
    {
        let value = logits[token].to_string();
        return Err(SampleError::NotFinite { token, value });
    }
    apply_repetition_penalty(logits, sampling.repetition_penalty, seen);
    let allows = |token: u32| allowed.is_none_or(|allowed| allowed(token));
    let numbered = (0_u32..).zip(logits.iter().copied());
    let candidates = numbered.filter(|(token, logit)| *logit > f32::NEG_INFINITY && allows(*token));
    if sampling.temperature <= 0.0 {
        let best = candidates.min_by(by_likelihood);
        return best.map(|(token, _)| token).ok_or(SampleError::NoneAllowed);
    }
    let mut candidates: Vec<(u32, f32)> = candidates.collect();
    let Some(max_logit) = candidates.iter().map(|(_, logit)| *logit).reduce(f32::max) else {
        return Err(SampleError::NoneAllowed);
    };
    if sampling.top_k > 0 && sampling.top_k < candidates.len() {
        candidates.select_nth_unstable_by(sampling.top_k - 1, by_likelihood);
        candidates.truncate(sampling.top_k);
        // The order of the selected candidates is unspecified.
        candidates.sort_unstable_by_key(|(token, _)| *token);
    }
    let weight = |logit: f32| f64::from(libm::expf((logit - max_logit) / sampling.temperature));
    let mut weighted: Vec<(u32, f32, f64)> = candidates
        .into_iter()
        .map(|(token, logit)| (token, logit, weight(logit)))
        .collect();
    if sampling.top_p < 1.0 {
        keep_top_p(&mut weighted, f64::from(sampling.top_p));
    }
    if sampling.min_p > 0.0 {
        let heaviest = weighted
            .iter()
            .map(|(.., weight)| *weight)
            .fold(0.0, f64::max);
        weighted.retain(|(.., weight)| *weight >= heaviest * f64::from(sampling.min_p));
    }
    draw(&weighted, random).ok_or(SampleError::NoneAllowed)
}

/// Makes the tokens that were seen less likely, each once. (Keskar and others, CTRL, 2019.)
fn apply_repetition_penalty(logits: &mut [f32], penalty: f32, seen: &[u32]) {
    if penalty.to_bits() == 1.0_f32.to_bits() {
        return;
    }
    let mut tokens = seen.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit > 0.0 {
                *logit / penalty
            } else {
                *logit * penalty
            };
        }
    }
}

/// The likelier token first; of equally likely ones, the lower token.
fn by_likelihood(left: &(u32, f32), right: &(u32, f32)) -> Ordering {
    right.1.total_cmp(&left.1).then(left.0.cmp(&right.0))
}

/// Keeps the likeliest tokens whose probabilities add up to `share`, at least one. (Holtzman and others, 2019.)
fn keep_top_p(weighted: &mut Vec<(u32, f32, f64)>, share: f64) {
    let total: f64 = weighted.iter().map(|(.., weight)| weight).sum();
    let by_likelihood = |left: &(u32, f32, f64), right: &(u32, f32, f64)| {
        by_likelihood(&(left.0, left.1), &(right.0, right.1))
    };
    // Few tokens are usually enough, so only the first ones are sorted, then more.
    let mut sorted = 64.min(weighted.len());
    loop {
        if sorted < weighted.len() {
            weighted.select_nth_unstable_by(sorted, by_likelihood);
        }
        weighted[..sorted].sort_unstable_by(by_likelihood);
        let mut sum = 0.0;
        let enough = weighted[..sorted].iter().position(|(.., weight)| {
            sum += weight;
            sum >= share * total
        });
        match enough {
            Some(last) => return weighted.truncate(last + 1),
            None if sorted == weighted.len() => return,
            None => sorted = (sorted * 8).min(weighted.len()),
        }
    }
}

/// The token whose part of the total weight contains `random`.
fn draw(weighted: &[(u32, f32, f64)], random: f64) -> Option<u32> {
    let total: f64 = weighted.iter().map(|(.., weight)| weight).sum();
    let mut left = random * total;
    for (token, _, weight) in weighted {
        if left < *weight {
            return Some(*token);
        }
        left -= weight;
    }
    // Rounding may leave a remainder after the last one.
    weighted.last().map(|(token, ..)| *token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32) -> SamplingParams {
        SamplingParams {
            temperature,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
        }
    }

    fn chosen(logits: &[f32], sampling: &SamplingParams, random: f64) -> u32 {
        sample(&mut logits.to_vec(), sampling, &[], None, random).expect("a token")
    }

    /// All tokens that are sampled.
    fn possible(logits: &[f32], sampling: &SamplingParams) -> Vec<u32> {
        let mut tokens: Vec<u32> = (0..1000)
            .map(|step| chosen(logits, sampling, f64::from(step) / 1000.0))
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    #[test]
    fn the_lower_of_equal_tokens_is_taken() {
        assert_eq!(chosen(&[1.0, 3.0, 3.0, 2.0], &sampling(0.0), 0.9), 1);
        let two = SamplingParams {
            top_k: 2,
            ..sampling(1.0)
        };
        assert_eq!(possible(&[1.0, 3.0, 3.0, 3.0], &two), [1, 2]);
    }

    #[test]
    fn each_cut_off_keeps_the_likeliest() {
        // Probabilities of about 0.64, 0.24, 0.09, 0.03.
        let logits = [2.0, 1.0, 0.0, -1.0];
        assert_eq!(possible(&logits, &sampling(1.0)), [0, 1, 2, 3]);
        assert_eq!(
            possible(
                &logits,
                &SamplingParams {
                    top_k: 2,
                    ..sampling(1.0)
                }
            ),
            [0, 1]
        );
        assert_eq!(
            possible(
                &logits,
                &SamplingParams {
                    top_p: 0.8,
                    ..sampling(1.0)
                }
            ),
            [0, 1]
        );
        assert_eq!(
            possible(
                &logits,
                &SamplingParams {
                    top_p: 0.001,
                    ..sampling(1.0)
                }
            ),
            [0]
        );
        assert_eq!(
            possible(
                &logits,
                &SamplingParams {
                    min_p: 0.1,
                    ..sampling(1.0)
                }
            ),
            [0, 1, 2]
        );
        assert_eq!(possible(&logits, &sampling(0.05)), [0]);
    }

    #[test]
    fn top_p_keeps_more_tokens_than_are_sorted_at_first() {
        let logits: Vec<f32> = (0_u16..1000)
            .map(|token| f32::from(token % 7) / 100.0)
            .collect();
        let half = possible(
            &logits,
            &SamplingParams {
                top_p: 0.5,
                ..sampling(1.0)
            },
        );
        assert!(
            half.len() > 400 && half.iter().all(|token| token % 7 >= 3),
            "{half:?}"
        );
    }

    #[test]
    fn tokens_are_drawn_with_their_probabilities() {
        let draws = (0..10_000)
            .map(|step| chosen(&[0.0, 0.0, 1.0], &sampling(1.0), f64::from(step) / 10_000.0));
        let third = draws.filter(|token| *token == 2).count();
        // e / (2 + e) = 0.5761
        assert!((5755..5768).contains(&third), "{third}");
    }

    #[test]
    fn repetition_is_penalised_on_both_sides_of_zero() {
        let strict = SamplingParams {
            repetition_penalty: 2.0,
            ..sampling(0.0)
        };
        let choose =
            |logits: &[f32], seen: &[u32]| sample(&mut logits.to_vec(), &strict, seen, None, 0.0);
        assert_eq!(choose(&[3.0, 2.0], &[0, 0, 9]), Ok(1));
        assert_eq!(choose(&[-1.0, -1.5], &[0]), Ok(1));
        assert_eq!(choose(&[5.0, 2.0], &[0]), Ok(0));
    }

    #[test]
    fn a_token_that_is_not_allowed_is_never_sampled() {
        let odd = |token: u32| token % 2 == 1;
        let none = |_: u32| false;
        let run = |allowed: &dyn Fn(u32) -> bool, temperature| {
            sample(
                &mut [9.0, 1.0, 8.0],
                &sampling(temperature),
                &[],
                Some(allowed),
                0.3,
            )
        };
        assert_eq!(run(&odd, 0.0), Ok(1));
        assert_eq!(run(&odd, 1.0), Ok(1));
        assert_eq!(run(&none, 1.0), Err(SampleError::NoneAllowed));
        assert_eq!(run(&none, 0.0), Err(SampleError::NoneAllowed));
    }

    #[test]
    fn a_logit_that_is_not_finite_is_named() {
        for (bad, value) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
            let said = sample(&mut [0.0, bad], &sampling(1.0), &[], None, 0.5);
            assert_eq!(
                said,
                Err(SampleError::NotFinite {
                    token: 1,
                    value: value.to_owned()
                })
            );
        }
        assert_eq!(chosen(&[f32::NEG_INFINITY, 0.0], &sampling(1.0), 0.0), 1);
    }
}
