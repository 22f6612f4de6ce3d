#include <algorithm>
#include <bit>
#include <cstring>

#include "tunport/gate/flow_table_internal.hpp"

namespace tunport {
namespace {

constexpr std::size_t ports = 0x10000;
constexpr std::size_t fewest_buckets = 1024;

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 32);
}

std::uint64_t mix(std::uint64_t hash, const IpAddress& address) {
  if (address.is_v4()) return mix(hash, address.v4().value());
  std::uint64_t words[2];
  std::memcpy(words, address.v6().octets().data(), sizeof words);
  return mix(mix(hash, words[0]), words[1]);
}

}  // namespace

FlowTable::FlowTable(std::size_t most, std::uint64_t seed)
    : most_{std::min(most, ports - first_port)}, seed_{seed} {}

std::size_t FlowTable::spread(const FlowEnds& ends) const {
  std::uint64_t hash = mix(seed_, std::uint64_t{ends.source_port} << 16 | ends.destination_port);
  hash = mix(mix(hash, ends.source), ends.destination);
  return hash & (buckets_.size() - 1);
}

std::uint32_t& FlowTable::bucket_of(const FlowEnds& ends) { return buckets_[spread(ends)]; }

std::uint32_t FlowTable::find(const FlowEnds& ends) const {
  if (buckets_.empty()) return none;
  std::uint32_t at = buckets_[spread(ends)];
  while (at != none && !(flows_[at].ends == ends)) at = flows_[at].chain_;
  return at;
}

std::uint32_t FlowTable::add(const FlowEnds& ends, std::uint32_t now) {
  if (size_ >= most_) return none;
  if (ports_.empty()) ports_.assign(ports, none);
  if (size_ >= buckets_.size()) {
    std::vector<std::uint32_t> wider(std::max(fewest_buckets, buckets_.size() * 2), none);
    buckets_.swap(wider);
    for (const List& list : lists_)
      for (std::uint32_t at = list.oldest; at != none; at = flows_[at].newer_) {
        std::uint32_t& bucket = bucket_of(flows_[at].ends);
        flows_[at].chain_ = bucket;
        bucket = at;
      }
  }
  std::uint32_t place = free_;
  if (place == none) {
    place = static_cast<std::uint32_t>(flows_.size());
    flows_.emplace_back();
  } else {
    free_ = flows_[place].chain_;
  }
  Flow& flow = flows_[place];
  flow = Flow{};
  flow.ends = ends;
  flow.generation = ++generations_;
  flow.first_seen = now;
  flow.port = take_port(place);
  std::uint32_t& bucket = bucket_of(ends);
  flow.chain_ = bucket;
  bucket = place;
  link(place, FlowState::held, now);
  ++size_;
  return place;
}

/// Precondition: fewer flows than ports.
std::uint16_t FlowTable::take_port(std::uint32_t place) {
  std::uint16_t port = next_port_;
  while (ports_[port] != none) port = port == 0xffff ? first_port : static_cast<std::uint16_t>(port + 1);
  next_port_ = port == 0xffff ? first_port : static_cast<std::uint16_t>(port + 1);
  ports_[port] = place;
  return port;
}

void FlowTable::remove(std::uint32_t place) {
  Flow& flow = flows_[place];
  std::uint32_t* at = &bucket_of(flow.ends);
  while (*at != place) at = &flows_[*at].chain_;
  *at = flow.chain_;
  ports_[flow.port] = none;
  unlink(place);
  flow = Flow{};
  flow.generation = ++generations_;  // no name fits
  flow.chain_ = free_;
  free_ = place;
  --size_;
}

void FlowTable::renew(std::uint32_t place, std::uint32_t now) {
  unlink(place);
  Flow& flow = flows_[place];
  Flow fresh;
  fresh.ends = flow.ends;
  fresh.port = flow.port;
  fresh.chain_ = flow.chain_;
  fresh.generation = ++generations_;
  fresh.first_seen = now;
  flow = std::move(fresh);
  link(place, FlowState::held, now);
}

void FlowTable::move(std::uint32_t place, FlowState state, std::uint32_t now) {
  unlink(place);
  link(place, state, now);
}

void FlowTable::link(std::uint32_t place, FlowState state, std::uint32_t now) {
  List& list = lists_[index(state)];
  Flow& flow = flows_[place];
  flow.state = state;
  flow.last_seen = now;
  flow.newer_ = none;
  flow.older_ = list.newest;
  (list.newest == none ? list.oldest : flows_[list.newest].newer_) = place;
  list.newest = place;
  ++list.count;
}

void FlowTable::unlink(std::uint32_t place) {
  const Flow& flow = flows_[place];
  List& list = lists_[index(flow.state)];
  (flow.newer_ == none ? list.newest : flows_[flow.newer_].older_) = flow.older_;
  (flow.older_ == none ? list.oldest : flows_[flow.older_].newer_) = flow.newer_;
  --list.count;
}

}  // namespace tunport
