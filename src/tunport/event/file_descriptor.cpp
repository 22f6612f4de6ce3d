#include "tunport/event/file_descriptor.hpp"

#include <stdexcept>

namespace tunport {

void Reactor::flush() {
  // A flush may write again, or destroy another descriptor: take each off the list before the call.
  while (!gathering_.empty()) {
    FileDescriptor* const next = gathering_.front();
    next->forget_flush();
    next->flush();
  }
}

FileDescriptor::~FileDescriptor() {
  forget_flush();
  detach();
}

void FileDescriptor::begin_gathering() {
  reactor_.gathering_.push_back(this);
  gathering_ = true;
}

void FileDescriptor::forget_flush() noexcept {
  if (std::exchange(gathering_, false)) std::erase(reactor_.gathering_, this);
}

void FileDescriptor::attach() {
  if (attached_) return;
  reactor_.add(*this);
  attached_ = true;
}

void FileDescriptor::detach() noexcept {
  if (!attached_) return;
  attached_ = false;
  reading_ = writing_ = resting_ = false;
  reactor_.remove(*this);
}

void FileDescriptor::start_reading() {
  if (reading_ || !attached_ || !is_open()) return;
  reading_ = true;
  reactor_.update(*this);
}

void FileDescriptor::stop_reading() {
  if (!reading_) return;
  reading_ = false;
  if (attached_) reactor_.update(*this);
}

void FileDescriptor::set_resting(bool resting) {
  if (resting_ == resting || !attached_) return;
  resting_ = resting;
  reactor_.update(*this);
}

void FileDescriptor::start_writing() {
  if (writing_ || !attached_) return;
  writing_ = true;
  reactor_.update(*this);
}

void FileDescriptor::stop_writing() {
  if (!writing_) return;
  writing_ = false;
  if (attached_) reactor_.update(*this);
}

void FileDescriptor::register_producer(Producer& producer, ProducerKind kind) {
  if (producer_ != nullptr) throw std::logic_error(log_prefix_ + ": a producer is registered already");
  if (!is_open_for_writing()) {
    producer.stop_producing();
    return;
  }
  producer_ = &producer;
  producer_kind_ = kind;
  producer_paused_ = false;
  if (kind != ProducerKind::pull) return;
  start_writing();
  pull_from_producer();
}

void FileDescriptor::unregister_producer() {
  if (producer_ == nullptr) return;
  producer_ = nullptr;
  producer_gone();
}

void FileDescriptor::stop_consuming() {
  unregister_producer();
  lose_connection();
}

void FileDescriptor::pause_producer() {
  if (producer_ == nullptr || producer_kind_ != ProducerKind::push || producer_paused_) return;
  producer_paused_ = true;
  producer_->pause_producing();
}

void FileDescriptor::resume_producer() {
  if (producer_ == nullptr || producer_kind_ != ProducerKind::push || !producer_paused_) return;
  producer_paused_ = false;
  producer_->resume_producing();
}

void FileDescriptor::pull_from_producer() {
  if (has_pull_producer()) producer_->resume_producing();
}

void FileDescriptor::stop_producer() {
  Producer* const producer = std::exchange(producer_, nullptr);
  if (producer != nullptr) producer->stop_producing();
}

}  // namespace tunport
