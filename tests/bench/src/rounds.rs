//! Rounds in which all contenders take turns.
//!
//! Each round runs every contender once, the next round in the opposite order, so that what the
//! machine does meanwhile (a neighbour's load, a clock that changes) meets all of them alike. The
//! first round warms up and is not counted.

use crate::{load::Figures, sample::median};

/// Runs `count` counted rounds over `contenders`; answers each contender's figures by round.
pub fn run<C>(
    contenders: &[C],
    count: usize,
    mut once: impl FnMut(&C) -> anyhow::Result<Figures>,
) -> anyhow::Result<Vec<Vec<Figures>>> {
    let mut figures = vec![Vec::with_capacity(count); contenders.len()];
    for round in 0..=count {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let seen = once(&contenders[index])?;
            if round > 0 {
                figures[index].push(seen);
            }
        }
    }
    Ok(figures)
}

/// The median of one figure over the rounds.
pub fn middle(rounds: &[Figures], figure: fn(&Figures) -> f64) -> f64 {
    median(&rounds.iter().map(figure).collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

/// The median over the rounds of ours divided by theirs.
pub fn ratio(ours: &[Figures], theirs: &[Figures], figure: fn(&Figures) -> f64) -> f64 {
    let ratios: Vec<f64> =
        ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
    median(&ratios).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64) -> Figures {
        Figures { rate, p50: 1.0, p99: 2.0 }
    }

    #[test]
    fn every_round_runs_all_and_the_order_turns() {
        let mut order = Vec::new();
        let seen = run(&["a", "b"], 2, |name| {
            order.push(*name);
            Ok(figures(1.0))
        })
        .unwrap();
        assert_eq!(order, ["a", "b", "b", "a", "a", "b"]);
        assert_eq!((seen[0].len(), seen[1].len()), (2, 2));
    }

    #[test]
    fn the_ratio_is_taken_within_each_round() {
        // The machine halves its speed in the second round: the ratio does not see it.
        let ours = [figures(90.0), figures(45.0), figures(90.0)];
        let theirs = [figures(100.0), figures(50.0), figures(100.0)];
        assert!((ratio(&ours, &theirs, |f| f.rate) - 0.9).abs() < 1e-9);
        assert_eq!(middle(&ours, |f| f.rate), 90.0);
    }
}
