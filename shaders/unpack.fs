/*{
    "ISFVSN": "2",
    "DESCRIPTION": "UYVY bytes as a picture: each pixel of the image holds two as U, Y, V, Y. Twice as wide as the image, whose row 0 is the top. The twin of compose.unpack_rgb in l2s_node/picture/compose.py.",
    "CREDIT": "l2s-node",
    "CATEGORIES": ["Utility"],
    "INPUTS": [
        {"NAME": "inputImage", "TYPE": "image"},
        {"NAME": "alpha", "TYPE": "image", "LABEL": "one channel, row 0 its top"},
        {"NAME": "opaque", "TYPE": "bool", "DEFAULT": 1, "LABEL": "there is no alpha"},
        {"NAME": "sd", "TYPE": "bool", "DEFAULT": 0, "LABEL": "BT.601, else BT.709"}
    ]
}*/

void main() {
    vec2 at = floor(isf_FragNormCoord * RENDERSIZE);
    at.y = RENDERSIZE.y - 1.0 - at.y;
    vec4 pair = IMG_PIXEL(inputImage, vec2(floor(at.x / 2.0), at.y) + 0.5) * 255.0;
    vec3 w = sd ? vec3(0.299, 0.587, 0.114) : vec3(0.2126, 0.7152, 0.0722);
    float luma = ((mod(at.x, 2.0) < 0.5 ? pair.y : pair.w) - 16.0) / 219.0;
    vec2 difference = (pair.xz - 128.0) * (1.0 - w.br) / 112.0;
    float red = luma + difference.y, blue = luma + difference.x;
    vec3 rgb = vec3(red, (luma - w.r * red - w.b * blue) / w.g, blue);
    gl_FragColor = vec4(clamp(rgb, 0.0, 1.0), opaque ? 1.0 : IMG_PIXEL(alpha, at + 0.5).r);
}
