//! Attention of one window, on slices.

use crate::math::{self, fused, widest};

/// Queries that share a pass over the keys: their sums stay in registers.
const TOGETHER: usize = 4;
/// Keys of a block: one register of the widest kind, four times.
const BLOCK: usize = 64;

/// Room for the keys of one head and for the weights of the queries.
#[derive(Default)]
pub struct Room {
    /// `[size, tokens]`, tokens padded to whole blocks.
    keys: Vec<f32>,
    /// `[TOGETHER, tokens]`.
    weights: Vec<f32>,
}

/// `seen = softmax(query keyᵀ) value`, head by head. All are `[tokens, hidden]`, heads side by side; the queries are scaled already.
pub fn attend(query: &[f32], key: &[f32], value: &[f32], (hidden, heads): (usize, usize), room: &mut Room, seen: &mut [f32]) {
    let tokens = query.len() / hidden;
    let padded = tokens.next_multiple_of(BLOCK);
    room.keys.clear();
    room.keys.resize(padded * (hidden / heads), 0.0);
    room.weights.clear();
    room.weights.resize(padded * TOGETHER, 0.0);
    for head in 0..heads {
        one_head(query, key, value, hidden, head * (hidden / heads), hidden / heads, &mut room.keys, &mut room.weights, seen);
    }
}

widest! {
    fn one_head(
        query: &[f32], key: &[f32], value: &[f32], hidden: usize, start: usize, size: usize,
        keys: &mut [f32], weights: &mut [f32], seen: &mut [f32],
    ) = {
        let tokens = query.len() / hidden;
        let padded = keys.len() / size;
        for token in 0..tokens {
            for (d, x) in key[token * hidden + start..][..size].iter().enumerate() {
                keys[d * padded + token] = *x;
            }
        }
        let mut first = 0;
        while first < tokens {
            let count = TOGETHER.min(tokens - first);
            if count == TOGETHER {
                scores::<TOGETHER, FUSED>(query, (hidden, start), first, keys, padded, weights);
            } else {
                for n in 0..count {
                    scores::<1, FUSED>(query, (hidden, start), first + n, keys, padded, &mut weights[n * padded..]);
                }
            }
            for n in 0..count {
                math::softmax(&mut weights[n * padded..][..tokens]);
            }
            mix::<FUSED>(weights, padded, count, value, (hidden, start, size), first, seen);
            first += count;
        }
    }
}

/// The scores of `COUNT` queries from `first` on against all keys.
#[inline(always)]
fn scores<const COUNT: usize, const FUSED: bool>(
    query: &[f32],
    (hidden, start): (usize, usize),
    first: usize,
    keys: &[f32],
    padded: usize,
    scores: &mut [f32],
) {
    for block in (0..padded).step_by(BLOCK) {
        let mut sums = [[0f32; BLOCK]; COUNT];
        for (d, keys) in keys.chunks_exact(padded).enumerate() {
            let keys: &[f32; BLOCK] = match keys[block..].first_chunk() {
                Some(keys) => keys,
                None => return,
            };
            for (n, sums) in sums.iter_mut().enumerate() {
                let q = query[(first + n) * hidden + start + d];
                for lane in 0..BLOCK {
                    sums[lane] = fused::<FUSED>(q, keys[lane], sums[lane]);
                }
            }
        }
        for (n, sums) in sums.iter().enumerate() {
            scores[n * padded + block..][..BLOCK].copy_from_slice(sums);
        }
    }
}

/// The values, weighted, for `count` queries from `first` on.
#[inline(always)]
fn mix<const FUSED: bool>(
    weights: &[f32],
    padded: usize,
    count: usize,
    value: &[f32],
    (hidden, start, size): (usize, usize, usize),
    first: usize,
    seen: &mut [f32],
) {
    const PART: usize = 32;
    let tokens = value.len() / hidden;
    for part in (0..size).step_by(PART) {
        let width = PART.min(size - part);
        let mut sums = [[0f32; PART]; TOGETHER];
        if width == PART {
            for token in 0..tokens {
                let Some(values) = value[token * hidden + start + part..].first_chunk::<PART>() else { return };
                for (n, sums) in sums.iter_mut().enumerate() {
                    let weight = weights[n * padded + token];
                    for lane in 0..PART {
                        sums[lane] = fused::<FUSED>(weight, values[lane], sums[lane]);
                    }
                }
            }
        } else {
            for token in 0..tokens {
                let values = &value[token * hidden + start + part..][..width];
                for (n, sums) in sums.iter_mut().enumerate() {
                    let weight = weights[n * padded + token];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = fused::<FUSED>(weight, *value, *sum));
                }
            }
        }
        for (n, sums) in sums.iter().take(count).enumerate() {
            seen[(first + n) * hidden + start + part..][..width].copy_from_slice(&sums[..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::Random;

    fn slow(query: &[f32], key: &[f32], value: &[f32], hidden: usize, heads: usize) -> Vec<f32> {
        let (tokens, size) = (query.len() / hidden, hidden / heads);
        let mut seen = vec![0f32; query.len()];
        for head in 0..heads {
            for i in 0..tokens {
                let at = |x: &[f32], token: usize, d: usize| f64::from(x[token * hidden + head * size + d]);
                let scores: Vec<f64> = (0..tokens).map(|j| (0..size).map(|d| at(query, i, d) * at(key, j, d)).sum::<f64>().exp()).collect();
                let total: f64 = scores.iter().sum();
                for d in 0..size {
                    seen[i * hidden + head * size + d] = (0..tokens).map(|j| scores[j] / total * at(value, j, d)).sum::<f64>() as f32;
                }
            }
        }
        seen
    }

    #[test]
    fn it_is_what_the_formula_says_for_all_lengths() {
        let mut random = Random::new(3);
        for (hidden, heads) in [(64, 2), (24, 3), (96, 2)] {
            for tokens in [1, 2, 3, 4, 5, 7, 63, 64, 65, 130] {
                let [query, key, value] = [0.3, 0.3, 1.0].map(|deviation| random.normals(tokens * hidden, deviation));
                let mut seen = vec![0f32; tokens * hidden];
                attend(&query, &key, &value, (hidden, heads), &mut Room::default(), &mut seen);
                let want = slow(&query, &key, &value, hidden, heads);
                assert!(seen.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4), "{hidden}, {heads}, {tokens}");
            }
        }
    }
}
