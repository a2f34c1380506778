use super::*;

const UPRIGHT: CartPole = CartPole {
    x: 0.0,
    x_dot: 0.0,
    theta: 0.0,
    theta_dot: 0.0,
};

/// SplitMix64, in the place of the host's random numbers.
fn random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[test]
fn one_push_moves_as_in_gym() {
    let mut pole = UPRIGHT;
    pole.push(1.0);
    assert_eq!((pole.x, pole.theta), (0.0, 0.0));
    assert!((pole.x_dot - 0.195_121_95).abs() < 1e-8, "{pole:?}");
    assert!((pole.theta_dot + 0.292_682_93).abs() < 1e-8, "{pole:?}");
}

#[test]
fn an_action_is_clamped_and_never_poisons_the_state() {
    let pushed = |action| {
        let mut pole = UPRIGHT;
        pole.push(action);
        pole
    };
    assert_eq!(pushed(f32::INFINITY), pushed(1.0));
    assert_eq!(pushed(-7.5), pushed(-1.0));
    assert_eq!(pushed(f32::NAN), UPRIGHT);
}

/// The bits after a thousand ticks: whoever changes the arithmetic, even by a
/// rounding, changes every recorded run.
#[test]
fn the_bits_are_pinned() {
    let mut random = random(1);
    let mut pole = CartPole::start(&mut random);
    for tick in 0..1000 {
        pole.advance(if tick % 2 == 0 { 0.5 } else { -0.5 }, &mut random);
    }
    let bits = [pole.x, pole.x_dot, pole.theta, pole.theta_dot].map(f64::to_bits);
    let pinned = [
        0x3ffc_f164_fc10_73f0,
        0x3fe2_f0b7_e28c_fb17,
        0x4063_41ee_fde6_fa57,
        0x4028_77ef_dc07_6d22,
    ];
    assert_eq!(bits, pinned, "{bits:#018x?}");
}

#[test]
fn without_force_the_pole_falls_and_with_feedback_it_stands() {
    for seed in 0..100 {
        let mut free = random(seed);
        let mut pole = CartPole::start(&mut free);
        let mut ticks = 0;
        while pole.is_standing() {
            pole.advance(0.0, &mut free);
            ticks += 1;
        }
        assert!(
            ticks < 1000,
            "seed {seed} stood for {ticks} ticks without force"
        );

        let mut gusts = random(seed);
        let mut pole = CartPole::start(&mut gusts);
        let mut action = 0.0;
        for tick in 0..5000 {
            // As in a run: the force answers what was seen one tick before.
            let late = action;
            let [x, x_dot, theta, theta_dot] = pole.observation();
            action = 0.1 * x + 0.2 * x_dot + 3.0 * theta + 0.6 * theta_dot;
            pole.advance(late, &mut gusts);
            assert!(pole.is_standing(), "seed {seed} fell in tick {tick}");
        }
    }
}

#[test]
fn the_limits_are_where_they_are_said_to_be() {
    let at = |x, theta| {
        CartPole {
            x,
            theta,
            ..UPRIGHT
        }
        .is_standing()
    };
    assert!(at(2.4, 0.0) && at(-2.4, 0.418));
    assert!(!at(2.41, 0.0) && !at(0.0, -0.419) && !at(f64::NAN, 0.0));
}

#[test]
fn random_bits_cover_the_interval_evenly() {
    assert_eq!(plus_minus_one(0), -1.0);
    assert_eq!(plus_minus_one(1 << 63), 0.0);
    assert!(plus_minus_one(u64::MAX) < 1.0);
}

#[test]
fn a_report_is_nine_bytes() {
    let pole = CartPole {
        x: 1.0,
        theta: -2.0,
        ..UPRIGHT
    };
    assert_eq!(pole.report(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0]);
}
