//! One feature's record, as JSON for the page: what has been gathered about it, put into words.
//!
//! The label is made by rule from contexts and logits, stands under `automatic_label`, and says so.

use serde_json::{Value, json};

/// Percentiles that a record lists.
const PERCENTILES: usize = 100;
/// Words that a label names.
const LABEL_WORDS: usize = 3;

/// A window of tokens around an activation.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) value: f64,
    /// The place in the corpus, to break ties.
    pub(crate) place: (usize, usize),
    pub(crate) tokens: Vec<u32>,
    pub(crate) acts: Vec<f64>,
    pub(crate) centre: usize,
}

/// What is known of one feature.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
    /// Fine bins from `min` to `max`.
    pub(crate) fine: Vec<u64>,
    /// The largest, descending.
    pub(crate) top: Vec<Example>,
    /// A sample of each interval, lowest first, with how many there were.
    pub(crate) intervals: Vec<(u64, Vec<Example>)>,
}

impl Gathered {
    pub(crate) fn new(intervals: usize) -> Self {
        let intervals = vec![(0, Vec::new()); intervals];
        Self { min: 0.0, max: 0.0, count: 0, fine: Vec::new(), top: Vec::new(), intervals }
    }

    /// The bin of a value among `n`.
    pub(crate) fn bin(&self, value: f64, n: usize) -> usize {
        let share = (value - self.min) / (self.max - self.min).max(1e-30);
        ((share * n as f64) as usize).min(n - 1)
    }

    /// The record's bytes.
    pub(crate) fn record(
        &self,
        index: usize,
        transcoder: &str,
        rows: usize,
        bars: usize,
        logits: &[Vec<u32>; 2],
        word: &dyn Fn(u32) -> String,
    ) -> Vec<u8> {
        let mut seen = std::collections::BTreeSet::new();
        let mut group = |name: String, examples: &[Example]| {
            let examples = examples.iter().map(|e| {
                json!({
                    "tokens": e.tokens.iter().map(|&t| word(t)).collect::<Vec<_>>(),
                    "tokens_acts_list": e.acts.iter().map(|&a| short(a)).collect::<Vec<_>>(),
                    "train_token_ind": e.centre,
                    "is_repeated_datapoint": !seen.insert((e.tokens.clone(), e.centre)),
                })
            });
            json!({"quantile_name": name, "examples": examples.collect::<Vec<_>>()})
        };
        let mut groups = vec![group("Top activations".into(), &self.top)];
        for (i, (_, examples)) in self.intervals.iter().enumerate().rev() {
            if !examples.is_empty() {
                groups.push(group(format!("Subsample interval {i}"), examples));
            }
        }
        let per_bar = self.fine.len() / bars;
        let histogram: Vec<u64> = self.fine.chunks(per_bar).map(|bins| bins.iter().sum()).collect();
        let names = |ids: &[u32]| ids.iter().map(|&t| word(t)).collect::<Vec<_>>();
        let record = json!({
            "transcoder_id": transcoder,
            "index": index,
            "automatic_label": self.label(&logits[0], word),
            "examples_quantiles": groups,
            "top_logits": names(&logits[0]),
            "bottom_logits": names(&logits[1]),
            "act_min": short(self.min),
            "act_max": short(self.max),
            "quantile_values": self.quantiles(),
            "histogram": histogram,
            "activation_frequency": short(self.count as f64 / rows as f64),
        });
        record.to_string().into_bytes()
    }

    /// The activation at each percentile of those that are not zero, to the width of a fine bin.
    fn quantiles(&self) -> Vec<Value> {
        let width = (self.max - self.min) / self.fine.len() as f64;
        let (mut bin, mut below) = (0, 0);
        let value = |k: usize| {
            let wanted = (self.count * (k as u64 + 1)).div_ceil(PERCENTILES as u64);
            while below + self.fine[bin] < wanted && bin + 1 < self.fine.len() {
                below += self.fine[bin];
                bin += 1;
            }
            short(self.min + width * (bin + 1) as f64)
        };
        (0..PERCENTILES).map(value).collect()
    }

    /// Which words fire it, and what it promotes.
    fn label(&self, promoted: &[u32], word: &dyn Fn(u32) -> String) -> String {
        let mut fires: Vec<String> = Vec::new();
        for example in &self.top {
            let at = word(example.tokens[example.centre]).trim().to_owned();
            if fires.len() < LABEL_WORDS && !at.is_empty() && !fires.contains(&at) {
                fires.push(at);
            }
        }
        let promotes: Vec<_> =
            promoted.iter().take(LABEL_WORDS).map(|&t| word(t).trim().to_owned()).collect();
        format!("automatic: on {}; promotes {}", fires.join(", "), promotes.join(", "))
    }
}

/// A number to four places of its own size: pages are to be looked at.
fn short(value: f64) -> Value {
    let text = format!("{value:.3e}");
    text.parse::<f64>().map_or(Value::Null, |v| if v == 0.0 { json!(0) } else { json!(v) })
}
