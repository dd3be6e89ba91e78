//! Multiples of one point, for many multiplications of it. The curve's arithmetic is the library's; its own tables are made for
//! secret scalars and read every entry for each digit, which what is public here does not need.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;

/// Bits of a scalar below the group's order.
const BITS: u32 = 253;

/// A point times each digit at each place: digits of `WINDOW` bits, from `-2^(WINDOW-1)` to `2^(WINDOW-1)`, so that half of
/// them are kept and the others taken away.
pub(super) struct Multiples<const WINDOW: u32> {
    /// Place by place, times 1, 2, ... `2^(WINDOW-1)`; 160 bytes each.
    points: Vec<EdwardsPoint>,
}

impl<const WINDOW: u32> Multiples<WINDOW> {
    /// Digits that differ by more than their sign.
    const HALF: usize = 1 << (WINDOW - 1);
    /// One more bit than a scalar has, for what the last digit may carry.
    const PLACES: usize = (BITS + 1).div_ceil(WINDOW) as usize;

    pub(super) fn of(point: &EdwardsPoint) -> Self {
        let mut points = Vec::with_capacity(Self::PLACES * Self::HALF);
        let mut place = *point;
        for _ in 0..Self::PLACES {
            let mut multiple = place;
            points.push(multiple);
            for _ in 1..Self::HALF {
                multiple += place;
                points.push(multiple);
            }
            place = multiple + multiple;
        }
        Self { points }
    }

    /// `sum` and the point times `scalar`. How long it takes, and what it reads, tells the scalar: never for secrets.
    pub(super) fn add_times(&self, scalar: &Scalar, mut sum: EdwardsPoint) -> EdwardsPoint {
        let (digit_max, half) = ((1_u32 << WINDOW) - 1, Self::HALF);
        let (mut low, mut high) = halves(scalar);
        let mut carry = 0;
        for place in self.points.chunks_exact(half) {
            let digit = (low as u32 & digit_max) + carry;
            (low, high) = (low >> WINDOW | high << (u128::BITS - WINDOW), high >> WINDOW);
            let less = digit as usize > half;
            carry = u32::from(less);
            let multiple = if less { digit_max + 1 - digit } else { digit };
            // A digit of nothing stands for no point, as does what the next place carries in whole.
            let Some(point) = (multiple as usize).checked_sub(1).and_then(|at| place.get(at)) else {
                continue;
            };
            if less {
                sum -= point;
            } else {
                sum += point;
            }
        }
        sum
    }
}

/// The lower and the upper 128 bits.
fn halves(scalar: &Scalar) -> (u128, u128) {
    let (low, high) = scalar.as_bytes().split_at(16);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte));
    (number(low), number(high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::traits::Identity as _;
    use proptest::prelude::*;

    fn holds<const WINDOW: u32>(point: &EdwardsPoint, scalars: &[Scalar]) {
        let multiples = Multiples::<WINDOW>::of(point);
        let start = ED25519_BASEPOINT_POINT + EIGHT_TORSION[3];
        for scalar in scalars {
            let times = multiples.add_times(scalar, EdwardsPoint::identity());
            // Compared as points, and as they are written.
            assert_eq!(times, point * scalar, "{WINDOW} {scalar:?}");
            assert_eq!(times.compress(), (point * scalar).compress());
            assert_eq!(multiples.add_times(scalar, start), start + point * scalar);
        }
    }

    #[test]
    fn digits_at_their_bounds_are_carried() {
        let mut scalars = vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -Scalar::from(2u64)];
        for bit in 0..253u32 {
            let mut bytes = [0; 32];
            bytes[bit as usize / 8] = 1 << (bit % 8);
            // Below the order, except for the highest bit, where it is not always.
            let power = Scalar::from_bytes_mod_order(bytes);
            scalars.extend([power, power - Scalar::ONE, power + Scalar::ONE, -power]);
        }
        // Every digit half, one more, one less, all ones.
        for byte in [0x10, 0x11, 0x0f, 0x84, 0x88, 0x80, 0x7f, 0xff, 0x42, 0x21] {
            let mut bytes = [byte; 32];
            bytes[31] &= 0x0f;
            scalars.push(Scalar::from_canonical_bytes(bytes).unwrap());
        }
        for torsion in [EIGHT_TORSION[0], EIGHT_TORSION[1], EIGHT_TORSION[4]] {
            let point = ED25519_BASEPOINT_POINT * Scalar::from(7u64) + torsion;
            holds::<5>(&point, &scalars);
            holds::<6>(&point, &scalars);
            holds::<7>(&point, &scalars);
            holds::<8>(&point, &scalars);
        }
        holds::<5>(&EIGHT_TORSION[5], &scalars);
        holds::<5>(&EdwardsPoint::identity(), &scalars);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn multiples_are_the_librarys(point in any::<[u8; 32]>(), scalar in any::<[u8; 32]>(), torsion in 0usize..8) {
            let point = ED25519_BASEPOINT_POINT * Scalar::from_bytes_mod_order(point) + EIGHT_TORSION[torsion];
            holds::<5>(&point, &[Scalar::from_bytes_mod_order(scalar)]);
            holds::<7>(&point, &[Scalar::from_bytes_mod_order(scalar)]);
        }
    }
}
