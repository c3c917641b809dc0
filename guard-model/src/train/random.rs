//! Random numbers that a seed gives again: SplitMix64 (Steele, Lea and Flood, 2014).

/// A generator. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, without, 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// From 0 up to, without, `end`; 0 for an `end` of 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// Normal numbers of this deviation (Box and Muller, 1958).
    pub fn normals(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        (0..count)
            .map(|_| {
                let (radius, turn) = ((1.0 - self.unit()).ln() * -2.0, self.unit() * std::f32::consts::TAU);
                deviation * radius.sqrt() * turn.cos()
            })
            .collect()
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_they_are_spread() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| a.bits() == b.bits()));
        let units: Vec<f32> = (0..10_000).map(|_| a.unit()).collect();
        assert!((units.iter().sum::<f32>() / 1e4 - 0.5).abs() < 0.02 && units.iter().all(|x| (0.0..1.0).contains(x)));
        let normals = a.normals(10_000, 2.0);
        assert!((normals.iter().map(|x| x * x).sum::<f32>() / 1e4 - 4.0).abs() < 0.3);
        let mut order: Vec<usize> = (0..100).collect();
        a.shuffle(&mut order);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(a.below(0), 0);
    }
}
