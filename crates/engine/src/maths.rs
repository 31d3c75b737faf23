//! The few numeric kernels of a BERT encoder, in float32.
//!
//! Every function here gives the same bits for the same input on one kind of machine: sums run in
//! a fixed order, and no result depends on where a buffer lies.

use crate::weights::{Linear, Norm};

/// A matrix inside a buffer.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Starts with the first element.
    pub data: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// From one row to the next.
    pub row_stride: usize,
    /// From one column to the next.
    pub column_stride: usize,
}

impl<'a> View<'a> {
    /// `rows × columns` in a buffer whose rows are `row_stride` apart.
    pub fn rows(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> View<'a> {
        View { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> View<'a> {
        View {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    fn span(&self) -> usize {
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

/// What a product is written to: rows `stride` apart.
pub struct Output<'a> {
    /// Starts with the first element.
    pub data: &'a mut [f32],
    /// From one row to the next.
    pub stride: usize,
}

/// `output = scale · a · b + keep · output`.
#[expect(
    unsafe_code,
    reason = "matrixmultiply takes pointers; every span is checked against its slice first"
)]
pub fn multiply(scale: f32, a: View<'_>, b: View<'_>, keep: f32, output: Output<'_>) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(m > 0 && k > 0 && n > 0 && b.rows == k, "matrices must fit each other");
    assert!(a.span() <= a.data.len() && b.span() <= b.data.len(), "operands must lie inside their buffers");
    assert!(output.stride >= n && (m - 1) * output.stride + n <= output.data.len(), "output must fit");
    // SAFETY: the asserts above keep every element that the strides reach inside its slice, the
    // output's rows do not overlap, and its exclusive borrow keeps it apart from the operands.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            scale,
            a.data.as_ptr(),
            a.row_stride as isize,
            a.column_stride as isize,
            b.data.as_ptr(),
            b.row_stride as isize,
            b.column_stride as isize,
            keep,
            output.data.as_mut_ptr(),
            output.stride as isize,
            1,
        );
    }
}

/// `output = input · weight + bias`, a row a token.
pub fn linear(layer: &Linear, input: &[f32], output: &mut [f32]) {
    output.chunks_exact_mut(layer.outputs).for_each(|row| row.copy_from_slice(&layer.bias));
    linear_onto(layer, input, output);
}

/// `output = input · weight + bias + residual`, a row a token.
pub fn linear_with_residual(layer: &Linear, input: &[f32], residual: &[f32], output: &mut [f32]) {
    let rows = output.chunks_exact_mut(layer.outputs).zip(residual.chunks_exact(layer.outputs));
    for (row, residual) in rows {
        for ((value, bias), residual) in row.iter_mut().zip(&layer.bias).zip(residual) {
            *value = bias + residual;
        }
    }
    linear_onto(layer, input, output);
}

fn linear_onto(layer: &Linear, input: &[f32], output: &mut [f32]) {
    let tokens = input.len() / layer.inputs;
    let input = View::rows(input, tokens, layer.inputs, layer.inputs);
    let weight = View::rows(&layer.weight, layer.inputs, layer.outputs, layer.outputs);
    multiply(1.0, input, weight, 1.0, Output { data: output, stride: layer.outputs });
}

/// Layer normalisation of each row.
pub fn layer_norm(norm: &Norm, epsilon: f32, rows: &mut [f32]) {
    let size = norm.gain.len();
    for row in rows.chunks_exact_mut(size) {
        let mean = sum(row, |value| value) / size as f32;
        let variance = sum(row, |value| (value - mean) * (value - mean)) / size as f32;
        let scale = 1.0 / (variance + epsilon).sqrt();
        for ((value, gain), bias) in row.iter_mut().zip(&norm.gain).zip(&norm.bias) {
            *value = (*value - mean) * scale * gain + bias;
        }
    }
}

/// Softmax of each row of `columns` values.
pub fn softmax(columns: usize, rows: &mut [f32]) {
    for row in rows.chunks_exact_mut(columns) {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|value| *value = exp_of_negative(*value - highest));
        let scale = 1.0 / sum(row, |value| value);
        row.iter_mut().for_each(|value| *value *= scale);
    }
}

/// GELU by the error function (not its tanh approximation, which is off by up to 5e-4).
pub fn gelu(values: &mut [f32]) {
    for value in values {
        *value *= 0.5 * (1.0 + erf(*value * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// The mean of the rows, into `output`, whose length is a row's.
pub fn mean_of_rows(rows: &[f32], output: &mut [f32]) {
    output.fill(0.0);
    for row in rows.chunks_exact(output.len()) {
        output.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let scale = output.len() as f32 / rows.len() as f32;
    output.iter_mut().for_each(|value| *value *= scale);
}

/// Scales a vector to length 1. A vector of zeros stays.
pub fn normalise(vector: &mut [f32]) {
    let length = sum(vector, |value| value * value).sqrt();
    // The smallest length that PyTorch's `normalize` divides by.
    let scale = 1.0 / length.max(1e-12);
    vector.iter_mut().for_each(|value| *value *= scale);
}

/// Keeps the first `dimensions` values of a vector and scales what is left to length 1, as OpenAI's
/// `dimensions` does.
pub fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    normalise(vector);
}

/// Sums in eight lanes: as fast as the vector unit allows, and closer than one long sum.
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0_f32; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += of(*value));
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|value| of(*value)).sum::<f32>()
}

/// The error function by Abramowitz and Stegun 7.1.26, off by at most 1.5e-7: branch-free, so that it
/// runs on vector registers, where the standard library has none.
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let series =
        ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    (1.0 - series * exp_of_negative(-size * size)).copysign(x)
}

/// `eˣ` for `x` up to 0 with a relative error below 2e-7 (Cephes' `expf`, branch-free). Below -87 the
/// result stays at the smallest normal numbers, which neither caller can tell from 0.
fn exp_of_negative(x: f32) -> f32 {
    // Adding 1.5 × 2²³ leaves the rounded integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first exact in few bits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let r = x - power * LN2_HIGH - power * LN2_LOW;
    let series = ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 1.666_666_5e-1)
        * r
        + 0.5;
    let scale = f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    (series * r * r + r + 1.0) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_standard_librarys() {
        for step in 0..=87_000 {
            let x = -(step as f32) / 1000.0;
            let (found, expected) = (f64::from(exp_of_negative(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "exp({x}) = {found}, not {expected}");
        }
        assert!(exp_of_negative(-1000.0) < 1e-37);
        assert!(exp_of_negative(f32::NAN).is_nan());
    }

    #[test]
    fn erf_is_close_to_known_values() {
        // Wolfram's values to ten digits.
        let known = [
            (0.0, 0.0),
            (0.1, 0.112_462_916),
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_792_9),
            (2.0, 0.995_322_265),
        ];
        for (x, expected) in known {
            assert!((f64::from(erf(x)) - expected).abs() < 4e-7, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!(erf(6.0), 1.0);
    }

    #[test]
    fn products_follow_the_definition_through_strides() {
        let a: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let b: Vec<f32> = (0..6).map(|value| value as f32 - 2.0).collect();
        // a is 3 × 2 inside rows of 4, b is given as 3 × 2 and used transposed.
        let mut output = vec![1.0; 9];
        let b_view = View::rows(&b, 3, 2, 2).transposed();
        multiply(2.0, View::rows(&a, 3, 2, 4), b_view, 1.0, Output { data: &mut output, stride: 3 });
        for row in 0..3 {
            for column in 0..3 {
                let dot: f32 = (0..2).map(|k| a[row * 4 + k] * b[column * 2 + k]).sum();
                assert_eq!(output[row * 3 + column], 1.0 + 2.0 * dot);
            }
        }
    }

    #[test]
    #[should_panic(expected = "inside their buffers")]
    fn products_refuse_to_read_past_a_buffer() {
        let short = [0.0; 7];
        let view = View::rows(&short, 2, 4, 4);
        multiply(1.0, view, view.transposed(), 0.0, Output { data: &mut [0.0; 4], stride: 2 });
    }
}
