# Writes FILE as a C++ array: cmake -DFILE=… -DOUT=… -DHEADER=… -DNAMESPACE=… -DNAME=kPageData -P embed_file.cmake
file(READ ${FILE} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "#include \"${HEADER}\"

namespace ${NAMESPACE} {

const unsigned char ${NAME}[] = {
${bytes}
};
const size_t ${NAME}Size = sizeof(${NAME});

}  // namespace ${NAMESPACE}
")
