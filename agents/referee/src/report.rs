//! What one pole says about itself, and what all of them add up to.

use std::fmt::Write;

/// The state of one pole in whole millimetres and milliradians.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    x_mm: i64,
    theta_mrad: i64,
    standing: bool,
}

impl Report {
    /// Reads position in metres and angle in radians (f32 little-endian each)
    /// and whether the pole stands (1 or 0).
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 9] = bytes.try_into().ok()?;
        let [x0, x1, x2, x3, t0, t1, t2, t3, standing] = *bytes;
        Some(Self {
            x_mm: thousandths(f32::from_le_bytes([x0, x1, x2, x3])),
            theta_mrad: thousandths(f32::from_le_bytes([t0, t1, t2, t3])),
            standing: match standing {
                0 => false,
                1 => true,
                _ => return None,
            },
        })
    }
}

/// The nearest whole thousandth; the cast turns NaN into zero and saturates.
fn thousandths(value: f32) -> i64 {
    (f64::from(value) * 1000.0).round() as i64
}

/// The published summary, without any white space.
pub fn summary<'a>(tick: u64, reports: impl Iterator<Item = &'a Report>) -> String {
    let (mut standing, mut fallen) = (0_u32, 0_u32);
    let mut poles = String::new();
    for report in reports {
        if report.standing {
            standing += 1;
        } else {
            fallen += 1;
        }
        let comma = if poles.is_empty() { "" } else { "," };
        write!(
            poles,
            "{comma}[{},{},{}]",
            report.x_mm,
            report.theta_mrad,
            u8::from(report.standing)
        )
        .expect("writing to a string cannot fail");
    }
    format!(r#"{{"tick":{tick},"standing":{standing},"fallen":{fallen},"poles":[{poles}]}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(x: f32, theta: f32, standing: u8) -> Vec<u8> {
        [&x.to_le_bytes()[..], &theta.to_le_bytes(), &[standing]].concat()
    }

    #[test]
    fn summarises_in_order_with_integers_only() {
        let first = Report::from_bytes(&bytes(0.1234, -0.0506, 1)).unwrap();
        let second = Report::from_bytes(&bytes(-2.5, 0.4, 0)).unwrap();
        assert_eq!(
            summary(7, [first, second].iter()),
            r#"{"tick":7,"standing":1,"fallen":1,"poles":[[123,-51,1],[-2500,400,0]]}"#
        );
        assert_eq!(
            summary(1, [].iter()),
            r#"{"tick":1,"standing":0,"fallen":0,"poles":[]}"#
        );
    }

    #[test]
    fn anything_else_is_no_report() {
        assert_eq!(Report::from_bytes(&[0; 8]), None);
        assert_eq!(Report::from_bytes(&bytes(0.0, 0.0, 2)), None);
    }
}
