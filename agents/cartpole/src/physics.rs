//! One pole, hinged to a cart on a track, after Barto, Sutton and Anderson,
//! "Neuronlike adaptive elements that can solve difficult learning control
//! problems" (1983), with the constants and the explicit Euler step of Gym's
//! `CartPole`.
//!
//! Only `+ - * /` and the sine and cosine of the `libm` crate are used, all in
//! float64: these give the same bits on every machine.

use std::f64::consts::PI;

const GRAVITY: f64 = 9.8;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
const TOTAL_MASS: f64 = CART_MASS + POLE_MASS;
/// Half of the pole's length.
const LENGTH: f64 = 0.5;
const POLE_MASS_LENGTH: f64 = POLE_MASS * LENGTH;
const FORCE_N: f64 = 10.0;
/// Seconds per tick.
const TAU: f64 = 0.02;

/// Beyond this the pole has fallen: twice the angle of Gym, in radians.
const THETA_LIMIT: f64 = 24.0 * PI / 180.0;
/// Beyond this the cart has left the track, in metres.
const X_LIMIT: f64 = 2.4;

/// The start state is uniform between plus and minus this.
const START_LIMIT: f64 = 0.05;
/// A gust comes in one of this many ticks, on average.
const GUST_ONE_IN: u64 = 40;
/// A gust's kick is uniform between plus and minus this, in radians per second.
const GUST_LIMIT: f64 = 0.25;

/// The state: metres, metres per second, radians, radians per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CartPole {
    pub x: f64,
    pub x_dot: f64,
    pub theta: f64,
    pub theta_dot: f64,
}

impl CartPole {
    /// A pole nearly upright and nearly at rest. Draws four random numbers, in
    /// the order of the fields.
    pub fn start(mut random: impl FnMut() -> u64) -> Self {
        let mut next = || START_LIMIT * plus_minus_one(random());
        Self {
            x: next(),
            x_dot: next(),
            theta: next(),
            theta_dot: next(),
        }
    }

    /// One tick: first the gust, if there is one, then the push. The policy was
    /// trained in this order.
    pub fn advance(&mut self, action: f32, random: impl FnMut() -> u64) {
        self.gust(random);
        self.push(action);
    }

    /// An explicit Euler step under a force of 10 N times the action, which is first brought
    /// into -1..=1. An action that is not a number is no action.
    fn push(&mut self, action: f32) {
        let action = if action.is_nan() { 0.0 } else { action };
        let force = FORCE_N * f64::from(action).clamp(-1.0, 1.0);
        let (sin, cos) = (libm::sin(self.theta), libm::cos(self.theta));
        let temp = (force + POLE_MASS_LENGTH * self.theta_dot * self.theta_dot * sin) / TOTAL_MASS;
        let theta_acc = (GRAVITY * sin - cos * temp)
            / (LENGTH * (4.0 / 3.0 - POLE_MASS * cos * cos / TOTAL_MASS));
        let x_acc = temp - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS;
        // Explicit Euler: both positions move by the velocities from before.
        self.x += TAU * self.x_dot;
        self.x_dot += TAU * x_acc;
        self.theta += TAU * self.theta_dot;
        self.theta_dot += TAU * theta_acc;
    }

    /// Now and then a kick. Draws one random number, and a second one for the
    /// strength if there is a gust.
    fn gust(&mut self, mut random: impl FnMut() -> u64) {
        if random() % GUST_ONE_IN == 0 {
            self.theta_dot += GUST_LIMIT * plus_minus_one(random());
        }
    }

    /// Whether the pole is up and the cart on its track. Written so that a
    /// state that is not a number counts as fallen.
    pub fn is_standing(&self) -> bool {
        self.theta.abs() <= THETA_LIMIT && self.x.abs() <= X_LIMIT
    }

    /// What the model sees: `[x, x_dot, theta, theta_dot]`.
    pub fn observation(&self) -> [f32; 4] {
        [self.x, self.x_dot, self.theta, self.theta_dot].map(|value| value as f32)
    }

    /// What the referee is told: x and theta as f32 little-endian, then 1 for
    /// standing or 0 for fallen.
    pub fn report(&self) -> [u8; 9] {
        let mut report = [0; 9];
        report[..4].copy_from_slice(&(self.x as f32).to_le_bytes());
        report[4..8].copy_from_slice(&(self.theta as f32).to_le_bytes());
        report[8] = u8::from(self.is_standing());
        report
    }
}

/// Uniform in -1..1: the upper 53 bits, as many as a float64 holds exactly.
fn plus_minus_one(random: u64) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << 52) as f64;
    (random >> 11) as f64 * STEP - 1.0
}

#[cfg(test)]
mod tests;
