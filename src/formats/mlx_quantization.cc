#include "formats/mlx_quantization.h"

namespace facet {
namespace {

AffineFormat read_format(const JsonView& section) {
  if (const auto mode = section.find("mode"))
    if (mode->string() != "affine") throw mode->unexpected("\"affine\"");
  AffineFormat format;
  const JsonView bits = section.at("bits");
  format.bits = bits.integer();
  if (format.bits != 4 && format.bits != 8) throw bits.unexpected("4 or 8");
  const JsonView group = section.at("group_size");
  format.group_size = group.integer();
  if (format.group_size != 32 && format.group_size != 64 && format.group_size != 128)
    throw group.unexpected("32, 64 or 128");
  return format;
}

}  // namespace

std::optional<MlxQuantization> MlxQuantization::read(const JsonView& config) {
  auto section = config.find("quantization");
  if (!section) section = config.find("quantization_config");
  if (!section) return std::nullopt;
  if (const auto method = section->find("quant_method"))
    throw method->unexpected("no such key (MLX's affine quantization is what is supported)");
  MlxQuantization quantization;
  quantization.default_ = read_format(*section);
  // Every member that is an object or a boolean is a module's path.
  for (const auto& [key, value] : section->object().items()) {
    if (value.is_object())
      quantization.modules_.emplace(key, read_format(section->at(key)));
    else if (value.is_boolean())
      quantization.modules_.emplace(key,
                                    value.get<bool>() ? std::optional(quantization.default_) : std::nullopt);
  }
  return quantization;
}

std::optional<AffineFormat> MlxQuantization::format_of(std::string_view path) const {
  const auto own = modules_.find(path);
  return own == modules_.end() ? default_ : own->second;
}

}  // namespace facet
