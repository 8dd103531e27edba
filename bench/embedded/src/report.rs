//! The table: medians, the best peer, and how far OrchardDB is from it.

use crate::rows::{Better, DISK, Metric, ROWS};
use crate::store::{Level, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

const OURS: &str = "orcharddb";

/// The markdown of measured lines of JSON.
pub fn markdown(lines: &str, stores: &[&'static str]) -> Result<String> {
    let mut heads: Vec<Value> = Vec::new();
    let mut values: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let mut failed: BTreeMap<(String, String), String> = BTreeMap::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let line: Value = serde_json::from_str(line)?;
        let (Some(store), Some(row)) = (line["store"].as_str(), line["row"].as_str()) else {
            heads.push(line);
            continue;
        };
        if let Some(why) = line["failed"].as_str() {
            failed.insert((store.into(), row.into()), why.into());
        }
        for (metric, value) in line["metrics"].as_object().into_iter().flatten() {
            values.entry((store.into(), metric.clone())).or_default().extend(value.as_f64());
        }
    }
    let median = |store: &str, metric: &str| {
        let mut runs = values.get(&(store.to_string(), metric.to_string())).cloned().unwrap_or_default();
        runs.sort_by(f64::total_cmp);
        match runs.len() {
            0 => None,
            len if len % 2 == 1 => Some(runs[len / 2]),
            len => Some((runs[len / 2 - 1] + runs[len / 2]) / 2.0),
        }
    };
    let shown: Vec<&str> =
        stores.iter().copied().filter(|store| values.keys().any(|(name, _)| name == store)).collect();
    let mut out = String::new();
    for head in heads {
        let text = head["machine"].as_str().unwrap_or("?");
        writeln!(
            out,
            "{text}; scale {}, {} runs, timed rows {} s",
            head["scale"], head["runs"], head["seconds"]
        )?;
    }
    let disk: Vec<&Metric> = ROWS.iter().filter(|row| row.id == DISK).flat_map(|row| row.metrics).collect();
    writeln!(out)?;
    for metric in disk {
        if let Some(value) = median(DISK, metric.id) {
            writeln!(out, "- {}: {} {}", metric.title, number(value), metric.unit)?;
        }
    }
    writeln!(out, "\n| | unit | {} | best peer | {OURS} / best peer |", shown.join(" | "))?;
    writeln!(out, "|---|---|{}---|---:|", "---:|".repeat(shown.len()))?;
    for row in ROWS.iter().filter(|row| row.id != DISK) {
        for metric in row.metrics {
            let medians: Vec<Option<f64>> = shown.iter().map(|store| median(store, metric.id)).collect();
            if medians.iter().all(Option::is_none) {
                continue;
            }
            let peers = shown.iter().zip(&medians).filter(|(store, _)| **store != OURS);
            let peers = peers.filter_map(|(store, value)| Some((*store, (*value)?)));
            let best = match metric.better {
                Better::Higher => peers.max_by(|a, b| a.1.total_cmp(&b.1)),
                Better::Lower => peers.min_by(|a, b| a.1.total_cmp(&b.1)),
            };
            write!(out, "| {} | {} |", metric.title, metric.unit)?;
            for (store, value) in shown.iter().zip(&medians) {
                let cell = match value {
                    Some(value) if best.is_some_and(|best| best.0 == *store) => {
                        format!("**{}**", number(*value))
                    }
                    Some(value) => number(*value),
                    None if failed.contains_key(&(store.to_string(), row.id.to_string())) => "failed".into(),
                    None => "-".into(),
                };
                let lower =
                    row.id.starts_with("ycsb") && value.is_some() && crate::level(store, Level::Os).is_none();
                write!(out, " {cell}{} |", if lower { "*" } else { "" })?;
            }
            let ours = median(OURS, metric.id);
            let ratio = best.zip(ours).map(|(best, ours)| match metric.better {
                Better::Higher => ours / best.1,
                Better::Lower => best.1 / ours,
            });
            let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
            writeln!(out, " {} | {ratio} |", best.map_or("-", |best| best.0))?;
        }
    }
    writeln!(out, "\nA ratio above 1 is in {OURS}'s favour, whichever way the unit is better.")?;
    if shown.iter().any(|store| crate::level(store, Level::Os).is_none()) {
        writeln!(
            out,
            "\\* has no writes that are handed to the kernel without fsync: nothing is promised here."
        )?;
    }
    for ((store, row), why) in &failed {
        writeln!(out, "{store} failed in {row}: {why}")?;
    }
    writeln!(out, "\n| store | durable (fsync) | handed to the kernel (os) | nothing promised (none) |")?;
    writeln!(out, "|---|---|---|---|")?;
    for store in &shown {
        let how = |level| crate::level(store, level).unwrap_or("-");
        writeln!(out, "| {store} | {} | {} | {} |", how(Level::Fsync), how(Level::Os), how(Level::None))?;
    }
    Ok(out)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000_000.0 => format!("{:.2} M", value / 1_000_000.0),
        size if size >= 100_000.0 => format!("{:.0} k", value / 1_000.0),
        size if size >= 1_000.0 => format!("{:.1} k", value / 1_000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
