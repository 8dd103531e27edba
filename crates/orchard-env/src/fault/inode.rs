//! The bytes of one file: as readers see them, as the medium holds them, and the changes between.

use super::BLOCK_SIZE_BYTES;
use super::plan::CrashStyle;
use crate::random::SeededRandom;
use std::collections::BTreeSet;

/// A change that the medium may not have yet.
#[derive(Clone)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    SetLength(usize),
}

/// One file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What readers see.
    pub(super) volatile: Vec<u8>,
    /// What the medium holds for certain.
    durable: Vec<u8>,
    /// Changes since the last sync, in order.
    pending: Vec<Pending>,
    /// Blocks that hold written bytes; lengthening a file takes none.
    blocks: BTreeSet<u64>,
    /// Open handles.
    pub(super) handles: usize,
}

fn write_to(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

impl Pending {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Pending::Write { offset, bytes } => write_to(content, *offset, bytes),
            Pending::SetLength(length) => content.resize(*length, 0),
        }
    }

    /// What of this change reaches the medium when chance decides. `kept_per_million`: of a million changes so many
    /// survive whole.
    fn survive(&self, content: &mut Vec<u8>, kept_per_million: u32, random: &SeededRandom) {
        if random.chance(kept_per_million) {
            return self.apply(content);
        }
        let Pending::Write { offset, bytes } = self else { return };
        match random.below(8) {
            // Nothing of it.
            0..=2 => {}
            // The length survives and the bytes do not: zeros, or what the blocks held before.
            3 if offset + bytes.len() > content.len() => {
                let stale = random.below(4) == 0;
                let start = content.len();
                content.resize(offset + bytes.len(), 0);
                if stale {
                    content.iter_mut().skip(start).for_each(|byte| *byte = random.next_u64() as u8);
                }
            }
            // Torn: each fragment for itself.
            _ => {
                for fragment in fragments(*offset, bytes.len(), random) {
                    if random.below(2) == 0
                        && let Some(part) = bytes.get(fragment.clone())
                    {
                        write_to(content, offset + fragment.start, part);
                    }
                }
            }
        }
    }
}

/// Cuts a write into fragments: at sectors, at pages, or at a few bytes anywhere.
fn fragments(offset: usize, length: usize, random: &SeededRandom) -> Vec<std::ops::Range<usize>> {
    let mut cuts: Vec<usize> = match random.below(3) {
        0 => (1..=4).map(|_| random.below(length as u64 + 1) as usize).collect(),
        choice => {
            let unit = if choice == 1 { 512 } else { BLOCK_SIZE_BYTES as usize };
            let first = unit - offset % unit;
            (first..length).step_by(unit).collect()
        }
    };
    cuts.extend([0, length]);
    cuts.sort_unstable();
    cuts.windows(2)
        .filter_map(|pair| pair.first().zip(pair.last()))
        .map(|(start, end)| *start..*end)
        .collect()
}

impl Inode {
    pub(super) fn used_bytes(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_SIZE_BYTES
    }

    /// How many of `length` bytes at `offset_bytes` can be written when so many bytes are free.
    pub(super) fn fitting(&self, offset_bytes: u64, length: usize, mut available_bytes: u64) -> usize {
        let end = offset_bytes + length as u64;
        let mut position = offset_bytes;
        while position < end {
            if !self.blocks.contains(&(position / BLOCK_SIZE_BYTES)) {
                if available_bytes < BLOCK_SIZE_BYTES {
                    break;
                }
                available_bytes -= BLOCK_SIZE_BYTES;
            }
            position = end.min((position / BLOCK_SIZE_BYTES + 1) * BLOCK_SIZE_BYTES);
        }
        (position - offset_bytes) as usize
    }

    pub(super) fn write(&mut self, offset_bytes: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let last = offset_bytes + bytes.len() as u64 - 1;
        self.blocks.extend(offset_bytes / BLOCK_SIZE_BYTES..=last / BLOCK_SIZE_BYTES);
        self.change(Pending::Write { offset: offset_bytes as usize, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, length_bytes: u64) {
        self.blocks.split_off(&length_bytes.div_ceil(BLOCK_SIZE_BYTES));
        self.change(Pending::SetLength(length_bytes as usize));
    }

    fn change(&mut self, pending: Pending) {
        pending.apply(&mut self.volatile);
        self.pending.push(pending);
    }

    pub(super) fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            pending.apply(&mut self.durable);
        }
    }

    /// A sync that failed: chance decides what reached the medium, and the rest counts as clean, so that no later
    /// sync writes it. The cache may still hold it or may have dropped it.
    pub(super) fn fail_sync(&mut self, random: &SeededRandom) {
        let kept = kept_per_million(CrashStyle::Random, random);
        for pending in self.pending.drain(..) {
            pending.survive(&mut self.durable, kept, random);
        }
        if random.below(2) == 0 {
            self.volatile.clone_from(&self.durable);
        }
    }

    /// What a power failure leaves.
    pub(super) fn after_crash(&self, style: CrashStyle, random: &SeededRandom) -> Inode {
        let mut content = self.durable.clone();
        let kept = kept_per_million(style, random);
        for pending in &self.pending {
            match style {
                CrashStyle::LoseAll => {}
                CrashStyle::KeepAll => pending.apply(&mut content),
                CrashStyle::Random => pending.survive(&mut content, kept, random),
            }
        }
        let mut inode = Inode::default();
        inode.replace(&content);
        inode.blocks = self.blocks.clone();
        inode.blocks.split_off(&(content.len() as u64).div_ceil(BLOCK_SIZE_BYTES));
        inode
    }

    /// What the death of the process leaves: everything but the handles.
    pub(super) fn after_kill(&self) -> Inode {
        Inode { handles: 0, ..self.clone() }
    }

    /// Puts these bytes on the medium.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        self.pending.clear();
        self.volatile = bytes.to_vec();
        self.durable = bytes.to_vec();
        self.blocks = (0..(bytes.len() as u64).div_ceil(BLOCK_SIZE_BYTES)).collect();
    }

    pub(super) fn flip(&mut self, offset_bytes: u64, mask: u8) -> bool {
        let offset = offset_bytes as usize;
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= mask;
        }
        self.volatile.get_mut(offset).map(|byte| *byte ^= mask).is_some()
    }
}

/// How forgiving a crash is: drawn for each file, so that some crashes lose nearly all and some nearly nothing.
pub(super) fn kept_per_million(style: CrashStyle, random: &SeededRandom) -> u32 {
    match style {
        CrashStyle::LoseAll => 0,
        CrashStyle::KeepAll => 1_000_000,
        CrashStyle::Random => match random.below(5) {
            0 => 0,
            1 => 100_000,
            2 => 500_000,
            3 => 900_000,
            _ => 1_000_000,
        },
    }
}
