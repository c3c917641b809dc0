//! Products with a weight matrix in eight bits: the bulk of the work of an encoder on a CPU.
//!
//! Weights are bytes with the zero at 128 and a scale for each output. Each row of activations is brought to signed bytes by its own
//! smallest and largest value (and zero, which lies between), so that a row's result does not depend on its neighbours. `vpdpbusd` multiplies 64 pairs of bytes at once;
//! since it takes the weights as unsigned, 128 times the sum of the activations is taken off again, and as a byte `a` stands for
//! `middle + scale a`, the sum of the weights is added `middle` times:
//!
//!     sum (w + 128) a  =  sum w a  +  128 sum a
//!
//! In a transformer a few inputs are far larger than all others, and always the same ones; they would leave the others few of the 255
//! steps. These *far* inputs are left out of the bytes and multiplied in `f32` (Dettmers et al., "LLM.int8()", 2022, who look for them
//! in every batch; here they are looked for once, when the network is packed, so that a text's score never depends on another's).
//!
//! Weights lie in panels of 64 outputs, four inputs next to each other: `[outputs / 64][inputs / 4][64][4]`. On a processor without
//! the instruction the same weights are widened once and multiplied in `f32`.

use candle_core::{DType, Device, Result, Tensor};

use crate::{
    math::{self, Width, widest},
    weights::Weights,
};

/// Outputs of a panel.
const PANEL: usize = 64;
/// Inputs of one instruction.
const STEP: usize = 4;
/// The zero of a weight byte.
const ZERO: u8 = 128;

/// A dense layer, ready for the CPU at hand.
pub struct Dense {
    form: Form,
    bias: Vec<f32>,
    from: usize,
    to: usize,
}

enum Form {
    /// For `vpdpbusd`.
    Bytes(Bytes),
    /// `[from, to]`.
    Wide(Tensor),
}

/// A matrix in bytes.
struct Bytes {
    panels: Vec<u8>,
    outputs: Vec<Output>,
    /// The inputs that are multiplied in `f32`, and their weights, `[far][to]`.
    far: Vec<usize>,
    far_weights: Vec<f32>,
}

/// What an output's sum of products is brought to numbers with.
struct Output {
    /// Of its weights.
    scale: f32,
    /// Of its weights, those of far inputs left out.
    sum: f32,
    bias: f32,
}

/// Rows of activations as signed bytes.
#[derive(Default)]
pub struct Rows {
    bytes: Vec<i8>,
    of: Vec<Row>,
    /// Bytes of a row.
    stride: usize,
    /// The far inputs of each row.
    far: Vec<f32>,
    /// For each time that rows were filled, how large each input was at most; kept only by rows that watch.
    reached: Option<Vec<Vec<f32>>>,
}

/// What the bytes of a row stand for.
#[derive(Clone, Copy, Default)]
struct Row {
    scale: f32,
    middle: f32,
    /// 128 times the sum of its bytes.
    correction: i32,
}

impl Dense {
    /// Reads the layer `name`, for `width`; the inputs `far` are far larger than the others.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn open(weights: &Weights, name: &str, (from, to): (usize, usize), far: &[usize], width: Width) -> Result<Self> {
        let bias: Vec<f32> = weights.wide(&format!("{name}.bias"), &[to])?.to_vec1()?;
        let matrix = weights.wide(&format!("{name}.weight"), &[to, from])?;
        let form = match width {
            Width::Avx512 => Form::Bytes(bytes(&matrix, &bias, far)?),
            _ => Form::Wide(matrix.t()?.contiguous()?),
        };
        Ok(Self { form, bias, from, to })
    }

    /// `y = W x + b` for rows `x`, `[rows, from]`; `y` is made `[rows, to]`.
    ///
    /// # Errors
    /// No memory.
    pub fn apply(&self, x: &[f32], rows: &mut Rows, y: &mut Vec<f32>) -> Result<()> {
        if let Form::Bytes(matrix) = &self.form {
            rows.fill(x, self.from, &matrix.far);
        }
        self.apply_filled(x, rows, y)
    }

    /// The same for rows that were filled from `x` by the layer before: several layers share one input.
    ///
    /// # Errors
    /// No memory.
    pub fn apply_filled(&self, x: &[f32], rows: &Rows, y: &mut Vec<f32>) -> Result<()> {
        let count = x.len() / self.from;
        match &self.form {
            Form::Bytes(matrix) => {
                y.clear();
                y.resize(count * self.to, 0.0);
                multiply(rows, matrix, y);
                if !matrix.far.is_empty() {
                    add_far(&rows.far, &matrix.far_weights, self.to, y);
                }
            }
            Form::Wide(matrix) => {
                let product = Tensor::from_slice(x, (count, self.from), &Device::Cpu)?.matmul(matrix)?;
                *y = product.flatten_all()?.to_vec1()?;
                for row in y.chunks_exact_mut(self.to) {
                    row.iter_mut().zip(&self.bias).for_each(|(y, b)| *y += b);
                }
            }
        }
        Ok(())
    }
}

/// Brings a matrix `[to, from]` to bytes in panels, without the columns `far`.
fn bytes(matrix: &Tensor, bias: &[f32], far: &[usize]) -> Result<Bytes> {
    let mut rows: Vec<Vec<f32>> = matrix.to_dtype(DType::F32)?.to_vec2()?;
    let from = rows.first().map_or(0, Vec::len);
    if rows.iter().flatten().any(|w| !w.is_finite()) {
        candle_core::bail!("the matrix holds a number that is not finite");
    }
    let far_weights = far.iter().flat_map(|input| rows.iter().map(|row| row[*input])).collect();
    let (panel_count, steps) = (rows.len().div_ceil(PANEL), from.div_ceil(STEP));
    let mut panels = vec![ZERO; panel_count * steps * PANEL * STEP];
    let mut outputs = Vec::with_capacity(rows.len());
    for (output, row) in rows.iter_mut().enumerate() {
        // The scale of the whole row: weights that are stored in eight bits are the same bytes here.
        let scale = row.iter().fold(0f32, |most, w| most.max(w.abs())).max(1e-12) / 127.0;
        far.iter().for_each(|input| row[*input] = 0.0);
        let (panel, lane) = (output / PANEL, output % PANEL);
        let mut sum = 0;
        for (input, w) in row.iter().enumerate() {
            let at = ((panel * steps + input / STEP) * PANEL + lane) * STEP + input % STEP;
            panels[at] = ((w / scale).round() as i32 + i32::from(ZERO)).clamp(1, 255) as u8;
            sum += i32::from(panels[at]) - i32::from(ZERO);
        }
        outputs.push(Output { scale, sum: sum as f32 * scale, bias: bias[output] });
    }
    Ok(Bytes { panels, outputs, far: far.to_vec(), far_weights })
}

impl Rows {
    /// Rows that keep how large each input was.
    pub fn watching() -> Self {
        Self { reached: Some(Vec::new()), ..Self::default() }
    }

    /// For each time that rows were filled: how large each input was at most, beside the others of its row.
    pub fn reached(self) -> Vec<Vec<f32>> {
        self.reached.unwrap_or_default()
    }

    /// Brings `x`, rows of `width`, to bytes, without the inputs `far`. A row with a NaN or an infinity gets a NaN as its scale: it stays
    /// one in all outputs.
    fn fill(&mut self, x: &[f32], width: usize, far: &[usize]) {
        if let Some(reached) = &mut self.reached {
            reached.push(reach(x, width));
        }
        self.stride = width.next_multiple_of(STEP);
        let count = x.len() / width;
        self.bytes.clear();
        self.bytes.resize(count * self.stride, 0);
        self.of.clear();
        self.of.resize(count, Row::default());
        self.far.clear();
        self.far.extend(x.chunks_exact(width).flat_map(|x| far.iter().map(|input| x[*input])));
        fill(x, width, far, &mut self.bytes, self.stride, &mut self.of);
    }
}

/// How large each input of rows of `width` is at most, in root mean squares of its row.
fn reach(x: &[f32], width: usize) -> Vec<f32> {
    let mut most = vec![0f32; width];
    for row in x.chunks_exact(width) {
        let rms = (math::sum(row, |x| x * x) / width as f32).sqrt().max(1e-12);
        most.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(x.abs() / rms));
    }
    most
}

widest! {
    fn fill(x: &[f32], width: usize, far: &[usize], bytes: &mut [i8], stride: usize, of: &mut [Row]) = {
        let mut near = vec![0f32; width];
        for ((x, bytes), of) in x.chunks_exact(width).zip(bytes.chunks_exact_mut(stride)).zip(of) {
            if far.is_empty() {
                *of = fill_row(x, bytes);
                continue;
            }
            near.copy_from_slice(x);
            far.iter().for_each(|input| near[*input] = 0.0);
            *of = fill_row(&near, bytes);
        }
    }
}

#[inline(always)]
fn fill_row(x: &[f32], bytes: &mut [i8]) -> Row {
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let magnitude = math::sum(x, |x| x * 0.0);
    if magnitude != 0.0 {
        return Row { scale: f32::NAN, ..Row::default() };
    }
    let (high, low) = (math::largest(x), x.iter().fold(0f32, |least, x| if *x < least { *x } else { least }));
    let high = if high > 0.0 { high } else { 0.0 };
    let half = (high - low) * 0.5;
    let half = if half < 1e-12 { 1e-12 } else { half };
    let (middle, inverse) = ((high + low) * 0.5, 127.0 / half);
    let mut total = 0i32;
    for (x, byte) in x.iter().zip(bytes) {
        let rounded = ((x - middle) * inverse + MAGIC).to_bits() as i32 - 0x4B40_0000;
        *byte = rounded as i8;
        total += rounded;
    }
    Row { scale: half / 127.0, middle, correction: total * i32::from(ZERO) }
}

widest! {
    /// Adds the products of the far inputs of each row, `[rows][far]`, with their weights, `[far][to]`.
    fn add_far(far: &[f32], weights: &[f32], to: usize, y: &mut [f32]) = {
        let count = weights.len() / to;
        for (far, y) in far.chunks_exact(count).zip(y.chunks_exact_mut(to)) {
            let (fours, weights_of_fours) = (far.chunks_exact(4), weights.chunks_exact(4 * to));
            let (rest, weights_of_rest) = (fours.remainder(), weights_of_fours.remainder());
            // Four at once: a row is read and written once for them.
            for (x, weights) in fours.zip(weights_of_fours) {
                let ((a, b), (c, d)) = (weights[..2 * to].split_at(to), weights[2 * to..].split_at(to));
                for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *y += (x[0] * a + x[1] * b) + (x[2] * c + x[3] * d);
                }
            }
            for (x, weights) in rest.iter().zip(weights_of_rest.chunks_exact(to)) {
                y.iter_mut().zip(weights).for_each(|(y, w)| *y += x * w);
            }
        }
    }
}

/// `y[row, output] = scale of row * scale of output * (sum of products - correction of row) + middle of row * sum of output + bias`.
#[cfg(target_arch = "x86_64")]
fn multiply(rows: &Rows, matrix: &Bytes, y: &mut [f32]) {
    assert!(math::width() == Width::Avx512, "bytes are only packed for processors that can multiply them");
    #[expect(unsafe_code, reason = "the processor has the instructions: asserted above")]
    // SAFETY: as asserted.
    unsafe {
        vnni::multiply(rows, &matrix.panels, &matrix.outputs, y);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply(_: &Rows, _: &Bytes, _: &mut [f32]) {
    unreachable!("bytes are only packed for processors that can multiply them")
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "loads and stores of whole registers, each inside a slice whose length is checked before the loop")]
mod vnni {
    use std::arch::x86_64::*;

    use super::{Output, PANEL, Row, Rows, STEP};

    /// Registers of a panel.
    const REGISTERS: usize = PANEL / 16;
    /// Rows that share a pass over a panel: 6 * 4 sums, 4 weights and 1 activation fill the 32 registers.
    const TOGETHER: usize = 6;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn multiply(rows: &Rows, panels: &[u8], outputs: &[Output], y: &mut [f32]) {
        let (to, steps) = (outputs.len(), rows.stride / STEP);
        for (n, panel) in panels.chunks_exact(steps * PANEL * STEP).enumerate() {
            let place = n * PANEL..((n + 1) * PANEL).min(to);
            let outputs = &outputs[place.clone()];
            let mut row = 0;
            while row < rows.of.len() {
                row += match rows.of.len() - row {
                    TOGETHER.. => some::<TOGETHER>(rows, row, panel, steps, outputs, (place.start, to), y),
                    4.. => some::<4>(rows, row, panel, steps, outputs, (place.start, to), y),
                    2.. => some::<2>(rows, row, panel, steps, outputs, (place.start, to), y),
                    _ => some::<1>(rows, row, panel, steps, outputs, (place.start, to), y),
                };
            }
        }
    }

    /// `COUNT` rows from `first` on with one panel.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn some<const COUNT: usize>(
        rows: &Rows,
        first: usize,
        panel: &[u8],
        steps: usize,
        outputs: &[Output],
        (output, to): (usize, usize),
        y: &mut [f32],
    ) -> usize {
        let acts: [&[i8]; COUNT] = std::array::from_fn(|i| &rows.bytes[(first + i) * rows.stride..][..steps * STEP]);
        assert!(panel.len() == steps * PANEL * STEP);
        let mut sums = [[_mm512_setzero_si512(); REGISTERS]; COUNT];
        for step in 0..steps {
            // SAFETY: the panel holds `steps` times 256 bytes.
            let weights: [__m512i; REGISTERS] =
                std::array::from_fn(|r| unsafe { _mm512_loadu_si512(panel.as_ptr().add(step * PANEL * STEP + r * 64).cast()) });
            for i in 0..COUNT {
                // SAFETY: each row holds `steps` times 4 bytes.
                let four = unsafe { acts[i].as_ptr().add(step * STEP).cast::<i32>().read_unaligned() };
                let four = _mm512_set1_epi32(four);
                for r in 0..REGISTERS {
                    sums[i][r] = _mm512_dpbusd_epi32(sums[i][r], weights[r], four);
                }
            }
        }
        for i in 0..COUNT {
            let Row { scale, middle, correction } = rows.of[first + i];
            let mut whole = [0i32; PANEL];
            for (r, sums) in sums[i].iter().enumerate() {
                // SAFETY: `whole` holds 4 times 16 numbers.
                unsafe { _mm512_storeu_si512(whole.as_mut_ptr().add(r * 16).cast(), *sums) };
            }
            let y = &mut y[(first + i) * to + output..][..outputs.len()];
            for ((y, of), whole) in y.iter_mut().zip(outputs).zip(whole) {
                *y = (whole - correction) as f32 * (scale * of.scale) + (middle * of.sum + of.bias);
            }
        }
        COUNT
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn layer(from: usize, to: usize) -> Weights {
        Weights::of(HashMap::from([
            ("l.weight".to_owned(), Tensor::randn(0f32, 0.1f32, (to, from), &Device::Cpu).unwrap()),
            ("l.bias".to_owned(), Tensor::randn(0f32, 1f32, to, &Device::Cpu).unwrap()),
        ]))
    }

    fn apply(weights: &Weights, (from, to): (usize, usize), width: Width, x: &[f32]) -> Vec<f32> {
        let mut y = Vec::new();
        Dense::open(weights, "l", (from, to), &[0, from / 2], width).unwrap().apply(x, &mut Rows::default(), &mut y).unwrap();
        y
    }

    #[test]
    fn bytes_are_near_to_floats_for_all_shapes() {
        for (from, to) in [(64, 64), (384, 1536), (30, 70), (3, 1)] {
            let weights = layer(from, to);
            for rows in 1..14 {
                let x: Vec<f32> = Tensor::randn(0f32, 1f32, rows * from, &Device::Cpu).unwrap().to_vec1().unwrap();
                let wide = apply(&weights, (from, to), Width::Plain, &x);
                let near = apply(&weights, (from, to), math::width(), &x);
                let most = wide.iter().fold(0f32, |most, y| most.max(y.abs()));
                assert_eq!(near.len(), rows * to);
                assert!(near.iter().zip(&wide).all(|(a, b)| (a - b).abs() < 0.03 * most.max(1.0)), "{from} to {to}, {rows} rows");
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let weights = layer(96, 80);
        let x: Vec<f32> = Tensor::randn(0f32, 1f32, 11 * 96, &Device::Cpu).unwrap().to_vec1().unwrap();
        let together = apply(&weights, (96, 80), math::width(), &x);
        for row in 0..11 {
            let alone = apply(&weights, (96, 80), math::width(), &x[row * 96..(row + 1) * 96]);
            assert!(alone.iter().zip(&together[row * 80..]).all(|(a, b)| (a - b).abs() < 1e-5), "row {row}");
        }
    }

    #[test]
    fn a_nan_stays_one_and_spoils_no_neighbour() {
        let weights = layer(64, 64);
        for bad in [f32::NAN, f32::INFINITY] {
            // The first input and the one in the middle are far.
            for input in [7, 0, 32] {
                let mut x = vec![0.5; 3 * 64];
                x[64 + input] = bad;
                let y = apply(&weights, (64, 64), math::width(), &x);
                assert!(y[64..128].iter().all(|y| !y.is_finite()), "{bad}");
                assert!(y[..64].iter().chain(&y[128..]).all(|y| y.is_finite()), "{bad}");
            }
        }
    }

    #[test]
    fn a_row_of_zeros_gives_the_bias() {
        let weights = layer(64, 64);
        let bias: Vec<f32> = weights.wide("l.bias", &[64]).unwrap().to_vec1().unwrap();
        assert_eq!(apply(&weights, (64, 64), math::width(), &[0.0; 64]), bias);
    }
}
