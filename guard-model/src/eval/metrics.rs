//! Figures of a classifier: area under the ROC curve, recall at a rate of false alarms, calibration.

/// Area under the ROC curve: how often a random attack scores above a random benign text, ties by half. NaN when either is missing.
pub fn auc(attacks: &[f64], benign: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = attacks.iter().map(|s| (*s, true)).chain(benign.iter().map(|s| (*s, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut area, mut at) = (0.0, 0.0, 0);
    while at < all.len() {
        let end = at + all[at..].iter().take_while(|(score, _)| *score == all[at].0).count();
        let hits = all[at..end].iter().filter(|(_, attack)| *attack).count() as f64;
        let others = (end - at) as f64 - hits;
        area += hits * (below + others / 2.0);
        below += others;
        at = end;
    }
    area / (attacks.len() as f64 * benign.len() as f64)
}

/// The lowest threshold (texts from it on are attacks) at which at most `rate` of the benign texts are called attacks.
pub fn threshold(benign: &[f64], rate: f64) -> f64 {
    let mut sorted = benign.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let allowed = (benign.len() as f64 * rate).floor() as usize;
    sorted.get(allowed).map_or(0.0, |first_too_many| first_too_many.next_up())
}

/// Share of `scores` from `threshold` on; NaN of none.
pub fn share(scores: &[f64], threshold: f64) -> f64 {
    scores.iter().filter(|score| **score >= threshold).count() as f64 / scores.len() as f64
}

/// Points of the ROC curve: the shares of benign texts and of attacks from a threshold on. `points` of them at rates of false alarms that
/// grow by a factor from one in ten thousand, because what matters lies close to none; and both ends.
pub fn roc(attacks: &[f64], benign: &[f64], points: usize) -> Vec<(f64, f64)> {
    let falling = |scores: &[f64]| {
        let mut sorted = scores.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted
    };
    let (attacks, benign) = (falling(attacks), falling(benign));
    let from = |sorted: &[f64], threshold: f64| sorted.partition_point(|score| *score >= threshold) as f64 / sorted.len() as f64;
    let mut curve = vec![(0.0, 0.0)];
    for point in 0..=points {
        let rate = 1e-4f64.powf(1.0 - point as f64 / points as f64);
        // As `threshold` has it: just above the first benign text too many.
        let allowed = (benign.len() as f64 * rate).floor() as usize;
        let threshold = benign.get(allowed).map_or(f64::NEG_INFINITY, |first_too_many| first_too_many.next_up());
        curve.push((from(&benign, threshold), from(&attacks, threshold)));
    }
    curve.push((1.0, 1.0));
    curve.retain(|(x, y)| x.is_finite() && y.is_finite());
    curve.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    curve.dedup();
    curve
}

/// One bin of a calibration plot.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Bin {
    /// Mean score in the bin.
    pub score: f64,
    /// Share of attacks in it.
    pub attacks: f64,
    /// Texts in it.
    pub count: usize,
}

/// Texts in ten bins by score, empty ones left out, and the expected calibration error over them.
pub fn calibration(scores: &[(f64, bool)]) -> (Vec<Bin>, f64) {
    let mut bins = Vec::new();
    for n in 0..10 {
        let inside = |score: f64| ((score * 10.0).floor() as i64).clamp(0, 9) == n;
        let some: Vec<&(f64, bool)> = scores.iter().filter(|(score, _)| inside(*score)).collect();
        if !some.is_empty() {
            let count = some.len();
            let score = some.iter().map(|(score, _)| score).sum::<f64>() / count as f64;
            let attacks = some.iter().filter(|(_, attack)| *attack).count() as f64 / count as f64;
            bins.push(Bin { score, attacks, count });
        }
    }
    let error = bins.iter().map(|bin| bin.count as f64 * (bin.score - bin.attacks).abs()).sum::<f64>() / scores.len().max(1) as f64;
    (bins, error)
}

/// The temperature by which to divide logits so that the probabilities of `(logits, label)` are as likely as can be: a search by
/// thirds over its logarithm (Guo et al., arXiv:1706.04599).
pub fn temperature(rows: &[([f64; 3], usize)]) -> f64 {
    let loss = |log: f64| {
        let t = log.exp();
        rows.iter()
            .map(|(logits, label)| {
                let most = logits.iter().fold(f64::NEG_INFINITY, |most, x| most.max(*x));
                let sum: f64 = logits.iter().map(|x| ((x - most) / t).exp()).sum();
                sum.ln() - (logits[*label] - most) / t
            })
            .sum::<f64>()
    };
    let (mut low, mut high) = (-2.0f64, 2.0f64);
    for _ in 0..60 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if loss(a) < loss(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs_and_halves_ties() {
        assert_eq!(auc(&[0.9, 0.8], &[0.1, 0.2]), 1.0);
        assert_eq!(auc(&[0.1], &[0.9]), 0.0);
        assert_eq!(auc(&[0.5, 0.9], &[0.5, 0.1]), 0.875);
        assert!(auc(&[], &[0.5]).is_nan());
    }

    #[test]
    fn a_threshold_lets_no_more_false_alarms_than_allowed() {
        let benign: Vec<f64> = (0..1000).map(|n| f64::from(n) / 1000.0).collect();
        for rate in [0.0, 0.001, 0.01, 0.5] {
            let at = threshold(&benign, rate);
            assert!(share(&benign, at) <= rate && share(&benign, at - 0.0011) > rate, "{rate}: {at}");
        }
        assert_eq!(share(&[0.5; 10], threshold(&[0.5; 10], 0.01)), 0.0, "ties are no way around it");
    }

    #[test]
    fn the_curve_goes_from_corner_to_corner() {
        let curve = roc(&[0.9, 0.7, 0.3], &[0.8, 0.2], 100);
        let third = 1.0 / 3.0;
        assert_eq!(curve, [(0.0, 0.0), (0.0, third), (0.5, 1.0), (1.0, 1.0)]);
        assert_eq!(roc(&[], &[], 10), [(0.0, 0.0), (1.0, 1.0)], "no rows, no NaN");
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
    }

    #[test]
    fn the_curve_shows_what_a_threshold_gives() {
        // 150 benign texts: one false alarm is allowed at 1 %, and three scores tie where it would end.
        let benign: Vec<f64> = (0..150).map(|n| if n < 4 { 0.8 - f64::from(n.max(1)) / 100.0 } else { 0.3 }).collect();
        let attacks: Vec<f64> = (0..100).map(|n| f64::from(n) / 100.0).collect();
        let curve = roc(&attacks, &benign, 100);
        for rate in [0.001, 0.01, 0.05] {
            let threshold = threshold(&benign, rate);
            let point = (share(&benign, threshold), share(&attacks, threshold));
            assert!(point.0 <= rate && curve.contains(&point), "{rate}: {point:?}");
        }
    }

    #[test]
    fn a_temperature_undoes_too_sure_logits() {
        // Right in three of four, and as sure as e^4: the best temperature brings 0.75 back.
        let rows: Vec<_> = (0..400).map(|n| ([4.0, -40.0, 0.0], if n % 4 == 0 { 2 } else { 0 })).collect();
        let t = temperature(&rows);
        assert!((1.0 / (1.0 + (-4.0 / t).exp()) - 0.75).abs() < 0.01, "{t}");
        let (bins, error) = calibration(&[(0.95, true), (0.95, true), (0.05, false), (0.05, true)]);
        assert_eq!((bins.len(), bins[0].count), (2, 2));
        assert!((error - (0.5 * 0.45 + 0.5 * 0.05)).abs() < 1e-9);
    }
}
