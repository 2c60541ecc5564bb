/*{
    "ISFVSN": "2",
    "DESCRIPTION": "A picture as UYVY bytes: each pixel drawn holds two of the image's as U, Y, V, Y. Half as wide as the image; row 0 of what is drawn is the top, as host memory wants it. What is drawn below the image's height is its alpha, four bytes a pixel. The twin of compose.pack_rgb in l2s_node/picture/compose.py.",
    "CREDIT": "l2s-node",
    "CATEGORIES": ["Utility"],
    "INPUTS": [
        {"NAME": "inputImage", "TYPE": "image"},
        {"NAME": "sd", "TYPE": "bool", "DEFAULT": 0, "LABEL": "BT.601, else BT.709"}
    ]
}*/

vec3 ycbcr(vec3 rgb) {  // bytes of limited range, not rounded
    vec3 w = sd ? vec3(0.299, 0.587, 0.114) : vec3(0.2126, 0.7152, 0.0722);
    float luma = dot(rgb, w);
    return vec3(16.0 + 219.0 * luma, 128.0 + 112.0 * (rgb.br - luma) / (1.0 - w.br));
}

float alpha(int index, ivec2 size) {  // of the pixel of that number, counted along the rows from the top
    ivec2 at = ivec2(index % size.x, size.y - 1 - index / size.x);
    return at.y < 0 ? 1.0 : IMG_PIXEL(inputImage, vec2(at) + 0.5).a;
}

void main() {
    vec2 at = floor(isf_FragNormCoord * RENDERSIZE);
    ivec2 size = ivec2(IMG_SIZE(inputImage));
    if (int(at.y) >= size.y) {
        int first = 4 * ((int(at.y) - size.y) * int(RENDERSIZE.x) + int(at.x));
        gl_FragColor = vec4(alpha(first, size), alpha(first + 1, size), alpha(first + 2, size), alpha(first + 3, size));
        return;
    }
    vec2 left = vec2(2.0 * at.x, IMG_SIZE(inputImage).y - 1.0 - at.y) + 0.5;
    vec3 a = ycbcr(IMG_PIXEL(inputImage, left).rgb);
    vec3 b = ycbcr(IMG_PIXEL(inputImage, left + vec2(1.0, 0.0)).rgb);
    vec2 chroma = (a.yz + b.yz) / 2.0;
    gl_FragColor = vec4(chroma.x, a.x, chroma.y, b.x) / 255.0;
}
