/*{
    "ISFVSN": "2",
    "DESCRIPTION": "A picture becomes one channel of luma at the generator's size, with a true area filter. The twin of l2s_node/picture/sample.py, which defines it. Pixels are counted from the top left; row 0 of what is drawn is the top, as host memory wants it.",
    "CREDIT": "l2s-node",
    "CATEGORIES": ["Utility"],
    "INPUTS": [
        {"NAME": "inputImage", "TYPE": "image"},
        {"NAME": "flipped", "TYPE": "bool", "DEFAULT": 0, "LABEL": "row 0 of the image is its top"},
        {"NAME": "from", "TYPE": "point2D", "DEFAULT": [0, 0], "MIN": [-16384, -16384], "MAX": [16384, 16384], "LABEL": "top left of what is taken, pixels of the image"},
        {"NAME": "to", "TYPE": "point2D", "DEFAULT": [1920, 1080], "MIN": [-16384, -16384], "MAX": [16384, 16384], "LABEL": "its bottom right"},
        {"NAME": "corner", "TYPE": "point2D", "DEFAULT": [0, 0], "MIN": [0, 0], "MAX": [16384, 16384], "LABEL": "top left of where it goes, pixels of the canvas; its border goes on outside"},
        {"NAME": "extent", "TYPE": "point2D", "DEFAULT": [256, 256], "MIN": [1, 1], "MAX": [16384, 16384], "LABEL": "width and height of where it goes"},
        {"NAME": "flipX", "TYPE": "bool", "DEFAULT": 0},
        {"NAME": "flipY", "TYPE": "bool", "DEFAULT": 0}
    ]
}*/

// Sums of weighted texels from `low` to `high` along one axis: the box filter where samples are fewer than pixels,
// linear interpolation where they are more.
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

void main() {
    ivec2 size = ivec2(IMG_SIZE(inputImage));
    vec2 at = clamp(floor(isf_FragNormCoord * RENDERSIZE) - corner, vec2(0.0), extent - 1.0);
    if (flipX) at.x = extent.x - 1.0 - at.x;
    if (flipY) at.y = extent.y - 1.0 - at.y;
    Reach columns = reach(at.x, extent.x, from.x, to.x);
    Reach rows = reach(at.y, extent.y, from.y, to.y);
    float luma = 0.0;
    for (int y = rows.low; y <= rows.high; y++) {
        int row = clamp(y, 0, size.y - 1);
        if (!flipped) row = size.y - 1 - row;
        float sum = 0.0;
        for (int x = columns.low; x <= columns.high; x++) {
            vec4 texel = IMG_PIXEL(inputImage, vec2(clamp(x, 0, size.x - 1), row) + 0.5);
            sum += weight(columns, x) * dot(texel.rgb, vec3(0.2126, 0.7152, 0.0722));
        }
        luma += weight(rows, y) * sum;
    }
    gl_FragColor = vec4(vec3(clamp(luma, 0.0, 1.0)), 1.0);
}
