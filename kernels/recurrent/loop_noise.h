// What happens to the state of a recurrent layer between its steps, in every schedule.
//
//   h_tm1, c_tm1 = 0            where resets[t,b]: a lane starts a new sequence in mid-chunk
//   Rh = R (m_t h_tm1) + b_R    recurrent dropout: m_t is 0 with probability p, else 1/(1-p)
//   h~, c~ = cell(Wx_t + b_W, Rh, h_tm1, c_tm1)
//   h_t = k_h h_tm1 + (1 - k_h) h~,   c_t = k_c c_tm1 + (1 - k_c) c~
//                               zoneout: k is 1 with probability z, else 0; in the mean k = z
//
// Krueger et al. 2017 (arXiv:1606.01305), section 3: the output gate of an LSTM sees c~, not c_t.
// Locked, m is one mask for all steps: Gal & Ghahramani 2016, section 4, in their form with one
// mask for all gates. A reset ends what came before for good: nothing crosses it in either
// direction. Beyond a lane's length none of this happens.
//
// Nothing drawn is stored. Philox block (slot B + b) H + u belongs to unit u of lane b in one of
// the T+1 slots of h: word 0 decides k_h and word 1 k_c of the step that writes the slot, word 2
// decides m of the step that reads it; locked, m is always that of slot 0. Steps and slots are
// counted in the whole chunk, also by a pass over a part of it. What it decides happens
// where the word is below dropout_threshold of its rate. So one block per unit and step serves
// either pass: a step needs its own k, and m of what it hands on to the step after it.
#pragma once

#include "kernels/base/mask_key.h"
#include "kernels/base/philox.h"
#include "kernels/base/view.h"

namespace unroll {

struct StateNoise {
  double zoneout_h = 0, zoneout_c = 0;  // 0 <= z < 1; zoneout_c only with a cell that has c
  double dropout = 0;                   // 0 <= p < 1
  bool locked = false;                  // one dropout mask per chunk instead of one per step
  bool mean = false;  // evaluation: zoneout in its expectation, no dropout, nothing drawn
  MaskKey key{};      // where something is drawn
  View2 resets{};     // [T,B]  i32, 0 or 1, of the whole chunk; may be left out

  bool draws() const { return !mean && (zoneout_h > 0 || zoneout_c > 0 || dropout > 0); }
  // Whether R multiplies something else than the carried h.
  bool masks_h() const { return resets || (!mean && dropout > 0); }
  bool any() const { return masks_h() || zoneout_h > 0 || zoneout_c > 0; }
};

// The same as the loops of all schedules evaluate it, on the number type of the cell.
template <class T>
struct LoopNoise {
  // The bits of a draw; kStarts is the caller's.
  enum : uint32_t { kKeepsH = 1, kKeepsC = 2, kDropped = 4, kStarts = 8 };

  bool any;  // false: nothing below is read
  bool mean, draws, locked;
  uint32_t op, below_h, below_c, below_dropped;
  T rate_h, rate_c, scale;
  int64_t B, H;
  const uint64_t* counter;
  View<const int32_t, 2> resets;

  // Whether lane b starts a new sequence at step t; there is no step -1.
  GPU_HD bool starts(int64_t t, int64_t b) const {
    return resets.data && t >= 0 && resets(t, b) != 0;
  }
  // Of unit u of lane b in a slot. Its reader is step `t_next`: where that starts anew, it gets
  // nothing.
  GPU_HD uint32_t draw(int64_t slot, int64_t b, int64_t u, int64_t t_next) const {
    uint32_t bits = starts(t_next, b) ? kDropped : 0u;
    if (!draws) return bits;
    const Philox4 words = block(slot, b, u);
    bits |= (words.v[0] < below_h ? kKeepsH : 0u) | (words.v[1] < below_c ? kKeepsC : 0u);
    const uint32_t dropout_word = locked ? block(0, b, u).v[2] : words.v[2];
    return bits | (dropout_word < below_dropped ? kDropped : 0u);
  }
  // k_h and k_c.
  GPU_HD T kept_h(uint32_t draw) const { return mean ? rate_h : T(draw & kKeepsH ? 1 : 0); }
  GPU_HD T kept_c(uint32_t draw) const { return mean ? rate_c : T(draw & kKeepsC ? 1 : 0); }
  // m x; a NaN that is dropped is gone.
  GPU_HD T handed_on(uint32_t draw, T x) const { return draw & kDropped ? T(0) : x * scale; }

 private:
  GPU_HD Philox4 block(int64_t slot, int64_t b, int64_t u) const {
    return philox_block(counter[0], counter[1], op, uint64_t((slot * B + b) * H + u));
  }
};

// The state after zoneout.
template <class T>
GPU_HD T zoned(T k, T old_state, T new_state) {
  return k * old_state + (1 - k) * new_state;
}

template <class T>
LoopNoise<T> loop_noise(const StateNoise& noise, int64_t B, int64_t H) {
  LoopNoise<T> n{};
  n.any = noise.any();
  n.mean = noise.mean;
  n.draws = noise.draws();
  n.locked = noise.locked && noise.dropout > 0;
  n.op = noise.key.op;
  n.below_h = dropout_threshold(noise.zoneout_h);
  n.below_c = dropout_threshold(noise.zoneout_c);
  n.below_dropped = dropout_threshold(noise.dropout);
  n.rate_h = T(noise.zoneout_h);
  n.rate_c = T(noise.zoneout_c);
  n.scale = T(noise.mean ? 1 : 1 / (1 - noise.dropout));
  n.B = B;
  n.H = H;
  n.counter = static_cast<const uint64_t*>(noise.key.counter.data);
  n.resets = noise.resets.as<const int32_t>();
  return n;
}

}  // namespace unroll
