/*{
    "ISFVSN": "2",
    "DESCRIPTION": "The generator's picture becomes the output: enlarged, laid over the input, faded. The twin of compose.paint_rgb in l2s_node/picture/compose.py, which defines it. Pixels of the input are counted from the top left.",
    "CREDIT": "l2s-node",
    "CATEGORIES": ["Utility"],
    "INPUTS": [
        {"NAME": "inputImage", "TYPE": "image", "LABEL": "the input"},
        {"NAME": "flipped", "TYPE": "bool", "DEFAULT": 0, "LABEL": "row 0 of the input is its top"},
        {"NAME": "from", "TYPE": "point2D", "DEFAULT": [0, 0], "MIN": [-16384, -16384], "MAX": [16384, 16384], "LABEL": "top left of what is seen of the input, in its pixels"},
        {"NAME": "to", "TYPE": "point2D", "DEFAULT": [1920, 1080], "MIN": [-16384, -16384], "MAX": [16384, 16384], "LABEL": "its bottom right"},
        {"NAME": "flipX", "TYPE": "bool", "DEFAULT": 0},
        {"NAME": "flipY", "TYPE": "bool", "DEFAULT": 0},
        {"NAME": "picture", "TYPE": "image", "LABEL": "the generator's picture, row 0 its top"},
        {"NAME": "bicubic", "TYPE": "bool", "DEFAULT": 1, "LABEL": "luma is enlarged bicubic, else bilinear"},
        {"NAME": "sd", "TYPE": "bool", "DEFAULT": 0, "LABEL": "luma is BT.601's, else BT.709's"},
        {"NAME": "saturation", "TYPE": "float", "DEFAULT": 1, "MIN": 0, "MAX": 3},
        {"NAME": "mixed", "TYPE": "bool", "DEFAULT": 0, "LABEL": "the input shows through"},
        {"NAME": "blend", "TYPE": "long", "DEFAULT": 0, "VALUES": [0, 1, 2, 3, 4, 5, 6, 7],
         "LABELS": ["normal", "add", "screen", "multiply", "overlay", "lighten", "difference", "luma"]},
        {"NAME": "amount", "TYPE": "float", "DEFAULT": 1, "MIN": 0, "MAX": 1, "LABEL": "0 the input, 1 the picture"},
        {"NAME": "split", "TYPE": "bool", "DEFAULT": 0, "LABEL": "the left half shows the input"},
        {"NAME": "bypass", "TYPE": "bool", "DEFAULT": 0, "LABEL": "all of it shows the input"},
        {"NAME": "light", "TYPE": "float", "DEFAULT": 1, "MIN": 0, "MAX": 1, "LABEL": "0 is black"},
        {"NAME": "opaque", "TYPE": "bool", "DEFAULT": 1, "LABEL": "the input's alpha is left away"}
    ]
}*/

vec3 weights() { return sd ? vec3(0.299, 0.587, 0.114) : vec3(0.2126, 0.7152, 0.0722); }

// --- the picture: luma and colour differences enlarged apart ---------------------------------------------------------

float keys(float x) {  // R. Keys, "Cubic convolution interpolation for digital image processing" (1981), a = -0.75
    x = abs(x);
    if (x <= 1.0) return (1.25 * x - 2.25) * x * x + 1.0;
    return x < 2.0 ? ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0 : 0.0;
}

float triangle(float x) { return max(1.0 - abs(x), 0.0); }

vec3 pixel(ivec2 p) {
    vec3 rgb = IMG_PIXEL(picture, vec2(p) + 0.5).rgb;
    float grey = dot(rgb, vec3(0.2126, 0.7152, 0.0722));
    return clamp(mix(vec3(grey), rgb, saturation), 0.0, 1.0);
}

vec3 joined(float luma, vec2 chroma) {  // chroma is (blue, red) minus luma
    vec3 w = weights();
    float red = luma + chroma.y, blue = luma + chroma.x;
    return clamp(vec3(red, (luma - w.r * red - w.b * blue) / w.g, blue), 0.0, 1.0);
}

void enlarged(vec2 at, out float luma, out vec2 chroma) {
    ivec2 last = ivec2(IMG_SIZE(picture)) - 1;
    vec2 where = (at + 0.5) * IMG_SIZE(picture) / RENDERSIZE - 0.5;
    ivec2 low = ivec2(floor(where));
    luma = 0.0;
    chroma = vec2(0.0);
    for (int y = low.y - 1; y <= low.y + 2; y++) {
        for (int x = low.x - 1; x <= low.x + 2; x++) {
            vec2 away = where - vec2(x, y);
            float linear = triangle(away.x) * triangle(away.y);
            float heavy = bicubic ? keys(away.x) * keys(away.y) : linear;
            vec3 rgb = pixel(clamp(ivec2(x, y), ivec2(0), last));
            float grey = dot(rgb, weights());
            luma += heavy * grey;
            chroma += linear * (rgb.br - grey);
        }
    }
    luma = clamp(luma, -16.0 / 219.0, 239.0 / 219.0);  // bicubic overshoots; so far as a byte of limited range goes
}

// --- the input: by area where it shrinks, linear where it grows ------------------------------------------------------

struct Reach { float start; float stop; bool area; int low; int high; };

Reach reach(float index, float samples, float start, float stop) {
    float step = (stop - start) / samples;
    float a = start + index * step;
    if (step >= 1.0) return Reach(a, a + step, true, int(floor(a)), int(ceil(a + step)) - 1);
    float centre = a + 0.5 * step - 0.5;
    return Reach(centre, centre, false, int(floor(centre)), int(floor(centre)) + 1);
}

float weight(Reach r, int i) {
    if (r.area) return max(min(r.stop, float(i + 1)) - max(r.start, float(i)), 0.0) / (r.stop - r.start);
    return 1.0 - abs(r.start - float(i));
}

vec4 dry(vec2 at) {
    ivec2 size = ivec2(IMG_SIZE(inputImage));
    if (flipX) at.x = RENDERSIZE.x - 1.0 - at.x;
    if (flipY) at.y = RENDERSIZE.y - 1.0 - at.y;
    Reach columns = reach(at.x, RENDERSIZE.x, from.x, to.x);
    Reach rows = reach(at.y, RENDERSIZE.y, from.y, to.y);
    vec4 all = vec4(0.0);
    for (int y = rows.low; y <= rows.high; y++) {
        int row = clamp(y, 0, size.y - 1);
        if (!flipped) row = size.y - 1 - row;
        for (int x = columns.low; x <= columns.high; x++) {
            vec4 texel = IMG_PIXEL(inputImage, vec2(clamp(x, 0, size.x - 1), row) + 0.5);
            all += weight(rows, y) * weight(columns, x) * texel;
        }
    }
    return all;
}

// --- both (W3C Compositing and Blending Level 1, 10.1) ---------------------------------------------------------------

vec3 over(vec3 below, float luma, vec2 chroma) {
    vec3 above = joined(luma, chroma);
    if (blend == 1) return min(below + above, 1.0);
    if (blend == 2) return below + above - below * above;
    if (blend == 3) return below * above;
    if (blend == 4) return mix(1.0 - 2.0 * (1.0 - below) * (1.0 - above), 2.0 * below * above, lessThan(below, vec3(0.5)));
    if (blend == 5) return max(below, above);
    if (blend == 6) return abs(below - above);
    if (blend == 7) return joined(dot(below, weights()), chroma);
    return above;
}

void main() {
    vec2 at = floor(isf_FragNormCoord * RENDERSIZE);
    at.y = RENDERSIZE.y - 1.0 - at.y;
    bool shows = bypass || (split && at.x < 2.0 * floor(RENDERSIZE.x / 4.0));
    bool needed = mixed || shows || !opaque;
    vec4 below = needed ? dry(at) : vec4(0.0, 0.0, 0.0, 1.0);
    vec3 rgb = below.rgb;
    if (!shows) {
        float luma;
        vec2 chroma;
        enlarged(at, luma, chroma);
        rgb = mixed ? mix(below.rgb, over(below.rgb, luma, chroma), amount) : joined(luma, chroma);
    }
    gl_FragColor = vec4(rgb * light, opaque ? 1.0 : below.a);
}
