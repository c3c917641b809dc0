//! Which inputs of the dense layers are far larger than all others: found by running the network once on words of all kinds. They are
//! a property of the weights; the same ones stand out whatever the text is.

use crate::{config::NetworkConfig, network::Window};

/// Far inputs of a layer, at most.
const COUNT: usize = 8;
/// And at most one in so many.
const ONE_IN: usize = 16;
/// Windows that are run.
const WINDOWS: usize = 4;

/// The far inputs of one block's dense layers, by the layers that read them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Far {
    /// Query, key and value.
    pub block: Vec<usize>,
    /// The first of the two that follow.
    pub feed: Vec<usize>,
    /// The second.
    pub wide: Vec<usize>,
}

impl Far {
    /// Of all blocks, from how large each input of their four products was at most, in the order of the products.
    pub fn of(reached: &[Vec<f32>]) -> Vec<Self> {
        let blocks = reached.chunks_exact(4);
        // What attention gives has none that would be worth it.
        blocks.map(|of| Self { block: farthest(&of[0]), feed: farthest(&of[2]), wide: farthest(&of[3]) }).collect()
    }
}

/// The inputs that reach farthest.
fn farthest(reached: &[f32]) -> Vec<usize> {
    let mut inputs: Vec<usize> = (0..reached.len()).collect();
    inputs.sort_by(|a, b| reached[*b].total_cmp(&reached[*a]));
    inputs.truncate(COUNT.min(reached.len() / ONE_IN));
    inputs
}

/// Windows of words from all over the vocabulary.
pub fn probes(config: &NetworkConfig) -> Vec<Window> {
    let (words, length) = (config.vocab_size, config.guard.window_tokens.min(config.max_position_embeddings));
    let step = (words / (WINDOWS * length)).max(1);
    let word = |n: usize| (n * step % words.max(1)) as u32;
    (0..WINDOWS).map(|window| Window { ids: (0..length).map(|n| word(n * WINDOWS + window)).collect() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_inputs_are_far_and_few() {
        let reached = |large: usize| (0..64).map(|n| if n == large { 9.0 } else { n as f32 / 64.0 }).collect::<Vec<f32>>();
        let far = Far::of(&[reached(3), reached(4), reached(5), vec![1.0; 8]]);
        assert_eq!(far, [Far { block: vec![3, 63, 62, 61], feed: vec![5, 63, 62, 61], wide: vec![] }]);
    }
}
