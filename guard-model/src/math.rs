//! Arithmetic over slices that the compiler turns into vector instructions of the processor at hand.
//!
//! The functions are plain loops; [`widest`] compiles a loop's caller once per instruction set and picks one at run time.

use std::sync::OnceLock;

/// The instruction sets that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// What every processor of the architecture has.
    Plain,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512,
}

/// The widest set of this processor; asked once.
pub fn width() -> Width {
    static WIDTH: OnceLock<Width> = OnceLock::new();
    *WIDTH.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let has_512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if has_512 {
                return Width::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Width::Avx2;
            }
        }
        Width::Plain
    })
}

/// Runs `$body` (calls of `#[inline(always)]` functions) compiled for the widest instruction set at hand. Inside it `FUSED` says whether
/// a product and a sum are one instruction (see [`fused`]).
macro_rules! widest {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:expr) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments, reason = "the functions called are compiled for instructions that width() found on this processor")]
        $vis fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
                fn avx512($($arg: $type),*) {
                    #[allow(dead_code, reason = "not every body asks")]
                    const FUSED: bool = true;
                    $body
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) {
                    #[allow(dead_code, reason = "not every body asks")]
                    const FUSED: bool = true;
                    $body
                }
                match $crate::math::width() {
                    // SAFETY: width() says that the processor has these instructions.
                    $crate::math::Width::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::math::Width::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::math::Width::Plain => {}
                }
            }
            #[allow(dead_code, reason = "not every body asks")]
            const FUSED: bool = false;
            $body
        }
    };
}
pub(crate) use widest;

/// `a * b + c`, in one instruction where there is one; elsewhere that would be a call of a function.
#[inline(always)]
pub fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// e^x to 4e-7 relative, for x from -87 to 88 (below: 0; above: the value at 88); NaN stays NaN.
///
/// Range reduction by ln 2 in two parts, then the Taylor polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2].
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let small = x < -87.0;
    let x = if small { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let z = x * std::f32::consts::LOG2_E + MAGIC;
    let n = z - MAGIC;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let exponent = (z.to_bits() as i32).wrapping_sub(0x4B40_0000);
    let scale = if small { 0 } else { (exponent.wrapping_add(127) << 23) as u32 };
    p * f32::from_bits(scale)
}

/// The normal distribution's Φ(x) and φ(x), to 2e-7: `erf` by Abramowitz and Stegun, formula 7.1.26.
#[inline(always)]
pub fn normal(x: f32) -> (f32, f32) {
    let y = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * y);
    let bell = exp(-y * y);
    let poly = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    let tail = 0.5 * poly * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell * 0.398_942_3)
}

/// GELU in its exact form, `x Φ(x)`.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// Partial sums of a reduction: as many as the widest register holds, so that the loop is not one chain of additions.
const LANES: usize = 16;

/// Sum of `f(x)` over a slice.
#[inline(always)]
pub fn sum(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = xs.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

/// Sum of `f(x, y)` over two slices of one length.
#[inline(always)]
pub fn sum2(xs: &[f32], ys: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let ((chunks_x, rest_x), (chunks_y, rest_y)) = (xs.as_chunks::<LANES>(), ys.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (x, y) in chunks_x.iter().zip(chunks_y) {
        for lane in 0..LANES {
            lanes[lane] += f(x[lane], y[lane]);
        }
    }
    lanes.iter().sum::<f32>() + rest_x.iter().zip(rest_y).map(|(x, y)| f(*x, *y)).sum::<f32>()
}

/// Largest of a slice; negative infinity of none. A NaN may be passed over: whoever sums the exponentials meets it again.
#[inline(always)]
pub fn largest(xs: &[f32]) -> f32 {
    let (chunks, rest) = xs.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most })
}

/// Softmax of a slice in place.
#[inline(always)]
pub fn softmax(xs: &mut [f32]) {
    let most = largest(xs);
    xs.iter_mut().for_each(|x| *x = exp(*x - most));
    let scale = 1.0 / sum(xs, |x| x);
    xs.iter_mut().for_each(|x| *x *= scale);
}

/// Layer norm of a row in place: mean 0, variance 1, then `gain` and `bias`.
#[inline(always)]
pub fn layer_norm(row: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let scale = 1.0 / (sum(row, |x| (x - mean) * (x - mean)) / count + epsilon).sqrt();
    for ((x, g), b) in row.iter_mut().zip(gain).zip(bias) {
        *x = (*x - mean) * scale * g + b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    widest! { fn exp_all(xs: &mut [f32]) = xs.iter_mut().for_each(|x| *x = exp(*x)) }

    #[test]
    fn exp_is_exact_to_a_few_parts_in_ten_million() {
        let mut xs: Vec<f32> = (-8700..8800).map(|n| n as f32 / 100.0).collect();
        let want: Vec<f64> = xs.iter().map(|x| f64::from(*x).exp()).collect();
        exp_all(&mut xs);
        for (got, want) in xs.iter().zip(want) {
            assert!((f64::from(*got) / want - 1.0).abs() < 4e-7, "{got} {want}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1000.0) == 0.0 && exp(1000.0).is_finite());
    }

    #[test]
    fn phi_meets_known_values() {
        for (x, want) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.0, 0.158_655_25), (3.0, 0.998_650_1), (-6.0, 9.87e-10)] {
            assert!((normal(x).0 - want).abs() < 3e-7, "{x}");
        }
        assert!((normal(0.0).1 - 0.398_942_3).abs() < 1e-6);
        assert!((gelu(2.0) - 1.954_499_7).abs() < 1e-6 && gelu(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_softmax_take_every_length() {
        for length in [1, 15, 16, 17, 100] {
            let xs: Vec<f32> = (0..length).map(|n| n as f32 / 7.0).collect();
            assert!((sum(&xs, |x| x) - xs.iter().sum::<f32>()).abs() < 1e-2);
            assert!((sum2(&xs, &xs, |x, y| x * y) - xs.iter().map(|x| x * x).sum::<f32>()).abs() < 1e-1);
            assert_eq!(largest(&xs), xs[length - 1]);
            let mut soft = xs.clone();
            softmax(&mut soft);
            assert!((soft.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let mut broken = xs.clone();
            broken[length / 2] = f32::NAN;
            softmax(&mut broken);
            assert!(broken.iter().all(|x| x.is_nan()), "a NaN is not hidden");
        }
    }

    #[test]
    fn a_normed_row_has_mean_bias_and_deviation_gain() {
        let mut row: Vec<f32> = (0..37).map(|n| n as f32).collect();
        layer_norm(&mut row, &[2.0; 37], &[1.0; 37], 1e-12);
        assert!((sum(&row, |x| x) / 37.0 - 1.0).abs() < 1e-5);
        assert!((sum(&row, |x| (x - 1.0) * (x - 1.0)) / 37.0 - 4.0).abs() < 1e-4);
    }
}
