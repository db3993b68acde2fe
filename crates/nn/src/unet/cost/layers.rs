//! The layers of a network, or of its ControlNet, counted one by one.

use super::{Stage, TrainedPart, Training};
use crate::{ControlNetConfig, Fusion, Modulation, Resampling, UNetConfig};

/// The weight of a layer: whether it gets a gradient, and how many numbers that has.
struct Weight {
    trained: bool,
    gradients: usize,
}

impl Weight {
    /// What the layer keeps of an input of this size: the gradient of the weight needs it.
    fn keeps(&self, input: usize) -> usize {
        usize::from(self.trained) * input
    }
}

/// Counts the layers of a network, or of its ControlNet.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    pub(super) config: &'a UNetConfig,
    pub(super) training: &'a Training,
    /// Gradients go through it and to none of its parameters.
    pub(super) frozen: bool,
}

impl Layers<'_> {
    /// A layer of this name with so many inputs of each output, the places of a kernel included.
    fn weight(&self, name: &str, inputs: usize, outputs: usize, biases: usize) -> Weight {
        let target = |target: &String| {
            let rest = target.strip_suffix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let lora = self.config.lora.as_ref();
        let (trained, biases) = match self.training.part {
            TrainedPart::Lora => (lora.is_some_and(|lora| lora.targets.iter().any(target)), 0),
            _ => (!self.frozen, biases),
        };
        Weight {
            trained,
            gradients: usize::from(trained) * (inputs * outputs + biases),
        }
    }

    /// The scales and shifts of normalisations.
    fn affine(&self, channels: usize) -> Weight {
        let trained = !self.frozen && self.training.part != TrainedPart::Lora;
        Weight {
            trained,
            gradients: usize::from(trained) * 2 * channels,
        }
    }

    /// Stem, embedding, the way down and the middle, for so many positions of the first feature map.
    pub(super) fn looking(&self, positions: usize, leaves_skips: bool) -> Vec<Stage> {
        let config = self.config;
        let last = config.widths.len() - 1;
        let mut stages = vec![self.first(positions)];
        let mut from = config.widths[0];
        let skip = |stages: &mut Vec<Stage>, size: usize| {
            if let Some(stage) = stages.last_mut().filter(|_| leaves_skips) {
                stage.skip = size;
            }
        };
        skip(&mut stages, from * positions);
        for (level, &to) in config.widths.iter().enumerate() {
            let here = positions >> (2 * level);
            for _ in 0..config.blocks {
                stages.push(self.resnet(from, to, [here; 2]));
                stages.extend(self.attention_of(level, here));
                skip(&mut stages, to * here);
                from = to;
            }
            if level < last {
                stages.push(self.resample(to, [here, here / 4], here));
                skip(&mut stages, to * (here / 4));
            }
        }
        let here = positions >> (2 * last);
        stages.push(self.resnet(from, from, [here; 2]));
        stages.extend(config.middle_attention.then(|| self.attention(last, here)));
        stages.push(self.resnet(from, from, [here; 2]));
        stages
    }

    /// The first convolution, and the embedding of time, class and w.
    fn first(&self, positions: usize) -> Stage {
        let config = self.config;
        let (first, dim) = (config.widths[0], config.embedding_dim());
        let folded = config.channels * config.patch * config.patch + config.concat;
        let conv = self.weight("conv_in", 9 * folded, first, first);
        let linear = self
            .weight("time_embedding.linear_1", first, dim, dim)
            .gradients
            + self
                .weight("time_embedding.linear_2", dim, dim, dim)
                .gradients;
        let classes = match config.classes {
            0 => 0,
            _ => {
                let table = self.weight("class_embedding", config.class_rows(), dim, 0);
                table.gradients
            }
        };
        let w = config.w.map_or(0, |w| w.dim * first);
        let kept = conv.keeps(folded * positions);
        Stage {
            kept,
            kept_least: kept,
            forward: (folded + first) * positions,
            gradients: conv.gradients + linear + classes + usize::from(!self.frozen) * w,
            ..Stage::default()
        }
    }

    /// The stem of the condition: convolutions, two on a level that is halved. SiLU is a product of its input and a
    /// sigmoid, which are both kept.
    pub(super) fn stem(&self, controlnet: &ControlNetConfig, positions: usize) -> Vec<Stage> {
        let halvings = controlnet.stem.len() - 1;
        let at = |level: usize| positions << (2 * (halvings - level));
        let mut stages = vec![];
        let mut from = controlnet.channels;
        let mut layer = |to: usize, [before, after]: [usize; 2], silu: usize| {
            let conv = self.weight("conv", 9 * from, to, to);
            let given = usize::from(stages.is_empty()) * conv.keeps(from * before);
            stages.push(Stage {
                kept: conv.keeps(from * before) + 2 * silu * to * after,
                kept_least: given + silu * to * after,
                working: 2 * to * after,
                forward: from * before + 2 * to * after,
                gradients: conv.gradients,
                ..Stage::default()
            });
            from = to;
        };
        for (level, &width) in controlnet.stem.iter().enumerate() {
            match level {
                0 => layer(width, [at(0); 2], 1),
                _ => layer(width, [at(level - 1), at(level)], 1),
            }
            if level < halvings {
                layer(width, [at(level); 2], 1);
            }
        }
        layer(self.config.widths[0], [positions; 2], 0);
        stages
    }

    /// What joins the ControlNet's features to the base's. The inputs of the zero convolutions are those of the blocks
    /// behind them, but for the middle's; a mixture keeps the differences.
    pub(super) fn joints(&self, controlnet: &ControlNetConfig, positions: usize) -> Stage {
        let config = self.config;
        let last = config.widths.len() - 1;
        let middle = (config.widths[last], last);
        let map = |(width, level): (usize, usize)| width * (positions >> (2 * level));
        let maps = || config.skips().chain([middle]);
        let (kept, kept_least, gradients) = match controlnet.fusion {
            Fusion::ZeroConv => {
                let gradients = maps().map(|(w, _)| w * w + w).sum();
                (map(middle), map(middle), gradients)
            }
            Fusion::Mix => (maps().map(map).sum(), 0, maps().count()),
        };
        Stage {
            kept,
            kept_least,
            forward: maps().map(map).sum(),
            gradients,
            ..Stage::default()
        }
    }

    /// The way up, and the output.
    pub(super) fn drawing(&self, positions: usize) -> Vec<Stage> {
        let config = self.config;
        let mut skips: Vec<usize> = config.skips().map(|(width, _)| width).collect();
        let mut stages = vec![];
        let mut from = config.widths[config.widths.len() - 1];
        for (level, &to) in config.widths.iter().enumerate().rev() {
            let here = positions >> (2 * level);
            for _ in 0..=config.blocks {
                let joined = from + skips.pop().unwrap_or(0);
                stages.push(Stage {
                    joined: joined * here,
                    ..self.resnet(joined, to, [here; 2])
                });
                stages.extend(self.attention_of(level, here));
                from = to;
            }
            if level > 0 {
                stages.push(self.resample(to, [here, 4 * here], 4 * here));
            }
        }
        let first = config.widths[0];
        let folded = config.channels * config.patch * config.patch;
        let (norm, conv) = (
            self.affine(first),
            self.weight("conv_out", 9 * first, folded, folded),
        );
        let map = first * positions;
        stages.push(Stage {
            kept: map + conv.keeps(map),
            kept_least: match norm.trained {
                true => map,
                false => map + conv.keeps(map),
            },
            working: 2 * first * positions,
            forward: 2 * first * positions,
            gradients: norm.gradients + conv.gradients,
            ..Stage::default()
        });
        stages
    }

    /// A residual block, for so many positions before and after a change of resolution.
    fn resnet(&self, from: usize, to: usize, [before, after]: [usize; 2]) -> Stage {
        let config = self.config;
        let conv1 = self.weight("conv1", 9 * from, to, to);
        let conv2 = self.weight("conv2", 9 * to, to, to);
        let modulated = match config.modulation {
            Modulation::Film => 2 * to,
            Modulation::Add => to,
        };
        let dim = config.embedding_dim();
        let projection = self.weight("time_emb_proj", dim, modulated, modulated);
        let shortcut = match from == to {
            true => 0,
            false => self.weight("conv_shortcut", from, to, to).gradients,
        };
        let norms = [self.affine(from), self.affine(to)];
        let (input, map) = (from * before, to * after);
        let mask = usize::from(config.dropout > 0.0) * map;
        // The inputs of the normalisations, and of the convolutions behind them.
        let kept = input + conv1.keeps(from * after) + map + conv2.keeps(map) + mask;
        Stage {
            kept,
            // A mask that was drawn at random cannot be drawn again: such a block is not computed again as a whole. The
            // framework does so with its normalisations where all their inputs are in the graph, and keeps the output of the
            // mask and the other half of the sum at the end.
            kept_least: match (mask, norms[0].trained) {
                (0, _) => input,
                (mask, true) => input + 3 * map + mask,
                (_, false) => kept,
            },
            working: 2 * from.max(to) * before.max(after),
            // Its input, and the maps before and after a normalisation and its convolution.
            forward: input + (from.max(to) + to) * after,
            gradients: conv1.gradients
                + conv2.gradients
                + projection.gradients
                + shortcut
                + norms.map(|norm| norm.gradients).iter().sum::<usize>(),
            convolution: 9 * to * from.max(to),
            ..Stage::default()
        }
    }

    /// A change of resolution; a convolution keeps its input, at so many positions.
    fn resample(&self, width: usize, [before, after]: [usize; 2], convolved: usize) -> Stage {
        match self.config.resampling {
            Resampling::Block => self.resnet(width, width, [before, after]),
            Resampling::Conv | Resampling::Corner => {
                let conv = self.weight("conv", 9 * width, width, width);
                Stage {
                    kept: conv.keeps(width * convolved),
                    kept_least: conv.keeps(width * before),
                    working: width * (before + after),
                    forward: width * (before + after + convolved),
                    gradients: conv.gradients,
                    convolution: 9 * width * width,
                    ..Stage::default()
                }
            }
        }
    }

    /// The attention of a level, where it has any.
    fn attention_of(&self, level: usize, positions: usize) -> Option<Stage> {
        self.config.attention[level].then(|| self.attention(level, positions))
    }

    fn attention(&self, level: usize, positions: usize) -> Stage {
        match self.config.text {
            None => self.own_attention(self.config.widths[level], positions),
            Some(text) => self.transformer(self.config.widths[level], text.width, positions),
        }
    }

    /// Attention within a map.
    fn own_attention(&self, width: usize, positions: usize) -> Stage {
        let map = width * positions;
        let [q, k, v, out] =
            ["to_q", "to_k", "to_v", "to_out.0"].map(|name| self.weight(name, width, width, width));
        let tokens = q.keeps(map).max(k.keeps(map)).max(v.keeps(map));
        let layers = [&q, &k, &v, &out].map(|layer| layer.gradients);
        Stage {
            kept_least: map,
            // The input, its tokens, queries, keys and values, the output of the heads and the same in one row.
            kept: map + tokens + 3 * map + map + out.keeps(map),
            working: 3 * map,
            forward: 7 * map,
            gradients: layers.iter().sum::<usize>() + self.affine(width).gradients,
            ..Stage::default()
        }
    }

    /// Attention within a map and to a text, and the feed-forward layer.
    fn transformer(&self, width: usize, text: usize, positions: usize) -> Stage {
        let map = width * positions;
        let states = width * self.training.states;
        let proj_in = self.weight("proj_in", width, width, width);
        let proj_out = self.weight("proj_out", width, width, width);
        let gated = self.weight("ff.net.0.proj", width, 8 * width, 8 * width);
        let out = self.weight("ff.net.2", 4 * width, width, width);
        let affine = self.affine(4 * width);
        // The centred input of each layer normalisation, and what its scale is multiplied with.
        let norm = map + affine.keeps(map);
        let attention = |context: usize, of_context: usize| {
            let q = self.weight("to_q", width, width, 0);
            let [k, v] = ["to_k", "to_v"].map(|name| self.weight(name, context, width, 0));
            let out = self.weight("to_out.0", width, width, width);
            let own = of_context == map;
            let tokens = match own {
                true => q.keeps(map).max(k.keeps(map)).max(v.keeps(map)),
                false => q.keeps(map),
            };
            // Queries, keys and values, the output of the heads and the same in one row.
            let kept = tokens + map + 2 * of_context + map + out.keeps(map);
            (
                kept,
                q.gradients + k.gradients + v.gradients + out.gradients,
            )
        };
        let (within, within_gradients) = attention(width, map);
        let (to_text, to_text_gradients) = attention(text, states);
        // Both halves of the projection, GELU of one, and the product.
        let feed_forward = gated.keeps(map) + 8 * map + 4 * map + out.keeps(4 * map);
        Stage {
            kept_least: map,
            kept: map
                + proj_in.keeps(map)
                + 3 * norm
                + within
                + to_text
                + feed_forward
                + proj_out.keeps(map),
            // The gradients of both halves, each the size of the whole, and their sum, when what the feed-forward layer
            // kept has gone; besides them the block's own gradient and those that the halves' were made of.
            working: 28 * map - feed_forward.min(28 * map),
            // The block's input, the sum so far and its normalisation, the projection, GELU of one half, and one more map
            // that goes from one to the other.
            forward: 16 * map,
            gradients: proj_in.gradients
                + proj_out.gradients
                + gated.gradients
                + out.gradients
                + affine.gradients
                + within_gradients
                + to_text_gradients,
            ..Stage::default()
        }
    }
}
